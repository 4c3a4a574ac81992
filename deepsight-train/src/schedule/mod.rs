//! The learning rate over a run: warm-up, then steps, a cosine, or reductions on a plateau.

#[cfg(feature = "model")]
mod burn;
mod plateau;

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

pub use plateau::{Plateau, PlateauState};

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scheduler {
    /// Multiplied with `factor` every so many steps: PyTorch's `StepLR`.
    Step {
        /// Optimizer steps between reductions, from 1.
        every: usize,
        /// What the rate is multiplied with, above 0 and at most 1.
        factor: f64,
    },
    /// Half a cosine down to `minimum` at the end of the run (Loshchilov & Hutter, ICLR 2017): PyTorch's
    /// `CosineAnnealingLR`.
    Cosine {
        /// The rate at the end, from 0.
        minimum: f64,
    },
    /// Reduced when the validation's measure stops rising: PyTorch's `ReduceLROnPlateau`.
    Plateau(Plateau),
}

/// The name of a [`Scheduler`], as on command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SchedulerName {
    /// [`Scheduler::Step`].
    Step,
    /// [`Scheduler::Cosine`].
    #[default]
    Cosine,
    /// [`Scheduler::Plateau`].
    Plateau,
}

impl SchedulerName {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Step, Self::Cosine, Self::Plateau];

    /// `step`, `cosine` or `plateau`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Cosine => "cosine",
            Self::Plateau => "plateau",
        }
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SchedulerName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|scheduler| scheduler.name() == name);
        let rule = "choose step, cosine or plateau";
        known.ok_or_else(|| Error::Setting { name: "scheduler", value: name.into(), rule })
    }
}

/// What a [`Schedule`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleConfig {
    /// The rate after the warm-up, above 0.
    pub learning_rate: f64,
    /// Optimizer steps of warm-up, over which the rate rises linearly; 0 for none.
    pub warmup: usize,
    /// Share of the rate that the warm-up starts from, `0..=1`. PyTorch's `LinearLR` calls it `start_factor`.
    pub warmup_start: f64,
    /// Optimizer steps of the whole run, warm-up included.
    pub total: usize,
    /// What comes after the warm-up.
    pub scheduler: Scheduler,
}

impl ScheduleConfig {
    /// A schedule of `total` steps without warm-up.
    pub fn new(learning_rate: f64, total: usize, scheduler: Scheduler) -> Self {
        Self { learning_rate, warmup: 0, warmup_start: 0.01, total, scheduler }
    }

    /// The same with a warm-up of that many steps.
    pub fn with_warmup(mut self, steps: usize) -> Self {
        self.warmup = steps;
        self
    }

    /// The schedule at its first step.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first value that is outside its range.
    pub fn init(self) -> Result<Schedule, Error> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| (0.0..=1.0).contains(&value);
        Error::check("learning-rate", self.learning_rate, positive(self.learning_rate), "a number above 0 is needed")?;
        Error::check("warmup-start", self.warmup_start, share(self.warmup_start), "a number in 0..=1 is needed")?;
        match self.scheduler {
            Scheduler::Step { every, factor } => {
                Error::check("step-size", every, every > 0, "1 or more is needed")?;
                let rule = "a number above 0 and at most 1 is needed";
                Error::check("step-factor", factor, positive(factor) && share(factor), rule)?;
            }
            Scheduler::Cosine { minimum } => {
                let holds = (0.0..=self.learning_rate).contains(&minimum);
                Error::check("minimum-rate", minimum, holds, "0 to the learning rate is needed")?;
            }
            Scheduler::Plateau(plateau) => plateau.check()?,
        }
        let plateau = match self.scheduler {
            Scheduler::Plateau(plateau) => Some(plateau.start(self.learning_rate)),
            _ => None,
        };
        Ok(Schedule { config: self, state: ScheduleState { step: 0, plateau } })
    }
}

/// Gives each optimizer step its learning rate. With the feature `model` it is a Burn `LrScheduler`.
///
/// ```
/// use deepsight_train::{ScheduleConfig, Scheduler};
///
/// let mut schedule = ScheduleConfig::new(0.1, 4, Scheduler::Cosine { minimum: 0.0 }).init()?;
/// let rates: Vec<f64> = (0..4).map(|_| (schedule.next_rate() * 1e4).round() / 1e4).collect();
/// assert_eq!(rates, [0.1, 0.0854, 0.05, 0.0146]);
/// # Ok::<(), deepsight_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    config: ScheduleConfig,
    state: ScheduleState,
}

/// Where a [`Schedule`] is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleState {
    /// Optimizer steps done.
    pub step: usize,
    /// What the plateau schedule remembers.
    pub plateau: Option<PlateauState>,
}

impl Schedule {
    /// The rate of the step to come, which then counts as done.
    pub fn next_rate(&mut self) -> f64 {
        let rate = self.rate();
        self.state.step += 1;
        rate
    }

    /// The rate of the step to come.
    pub fn rate(&self) -> f64 {
        let ScheduleConfig { learning_rate, warmup, warmup_start, total, scheduler } = self.config;
        let step = self.state.step;
        let warm = match step < warmup {
            true => warmup_start + (1.0 - warmup_start) * step as f64 / warmup as f64,
            false => 1.0,
        };
        let after = step.saturating_sub(warmup);
        warm * match scheduler {
            Scheduler::Step { every, factor } => learning_rate * factor.powf((after / every) as f64),
            Scheduler::Cosine { minimum } => {
                let share = (after as f64 / total.saturating_sub(warmup).max(1) as f64).min(1.0);
                minimum + (learning_rate - minimum) * (1.0 + (PI * share).cos()) / 2.0
            }
            Scheduler::Plateau(_) => self.state.plateau.map_or(learning_rate, |plateau| plateau.rate),
        }
    }

    /// Tells the schedule what an epoch's validation measured, more being better. Only a plateau schedule cares.
    pub fn observe(&mut self, measure: f64) {
        if let (Scheduler::Plateau(plateau), Some(state)) = (self.config.scheduler, &mut self.state.plateau) {
            plateau.observe(state, measure);
        }
    }

    /// Where it is.
    pub fn state(&self) -> ScheduleState {
        self.state
    }

    /// The same schedule, elsewhere.
    ///
    /// # Errors
    /// [`Error::Setting`] when the state is of another kind of schedule.
    pub fn resume(mut self, state: ScheduleState) -> Result<Self, Error> {
        let same = state.plateau.is_some() == self.state.plateau.is_some();
        let kind = if state.plateau.is_some() { "that of a plateau" } else { "not that of a plateau" };
        Error::check("scheduler state", kind, same, "it was written by another scheduler")?;
        self.state = state;
        Ok(self)
    }
}
