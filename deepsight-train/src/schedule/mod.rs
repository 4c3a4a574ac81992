//! The learning rate over a run: a warm-up, then steps, a cosine, or reductions on a plateau.

#[cfg(feature = "model")]
mod burn;
mod plateau;

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

pub use plateau::{Plateau, PlateauState};

/// The change of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scheduler {
    /// The rate is multiplied by `factor` every `every` steps, as in PyTorch's `StepLR`.
    Step {
        /// Optimizer steps between reductions, from 1.
        every: usize,
        /// Factor that the rate is multiplied by, above 0 and at most 1.
        factor: f64,
    },
    /// The rate falls along half a cosine to `minimum` at the end of the run (Loshchilov & Hutter, ICLR 2017), as in
    /// PyTorch's `CosineAnnealingLR`.
    Cosine {
        /// The rate at the end, from 0.
        minimum: f64,
    },
    /// The rate is reduced when the measure of the validation stops rising, as in PyTorch's `ReduceLROnPlateau`.
    Plateau(Plateau),
}

/// The name of a [`Scheduler`].
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
    /// All names.
    pub const ALL: [Self; 3] = [Self::Step, Self::Cosine, Self::Plateau];

    /// Returns `step`, `cosine` or `plateau`.
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

/// The settings of a [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleConfig {
    /// The rate after the warm-up, above 0.
    pub learning_rate: f64,
    /// Optimizer steps of warm-up, over which the rate rises linearly. 0 for no warm-up.
    pub warmup: usize,
    /// Share of the rate that the warm-up starts from, `0..=1`. PyTorch's `LinearLR` calls it `start_factor`.
    pub warmup_start: f64,
    /// Optimizer steps of the whole run, warm-up included.
    pub total: usize,
    /// How the rate changes after the warm-up.
    pub scheduler: Scheduler,
}

impl ScheduleConfig {
    /// Returns the settings of a schedule of `total` steps without warm-up.
    pub fn new(learning_rate: f64, total: usize, scheduler: Scheduler) -> Self {
        Self { learning_rate, warmup: 0, warmup_start: 0.01, total, scheduler }
    }

    /// Sets the number of warm-up steps.
    #[must_use]
    pub fn with_warmup(mut self, steps: usize) -> Self {
        self.warmup = steps;
        self
    }

    /// Creates the schedule at its first step.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first value that is outside its range.
    pub fn init(self) -> Result<Schedule, Error> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| (0.0..=1.0).contains(&value);
        Error::check("learning_rate", self.learning_rate, positive(self.learning_rate), "a number above 0 is needed")?;
        Error::check("warmup_start", self.warmup_start, share(self.warmup_start), "a number in 0..=1 is needed")?;
        match self.scheduler {
            Scheduler::Step { every, factor } => {
                Error::check("scheduler.every", every, every > 0, "1 or more is needed")?;
                let rule = "a number above 0 and at most 1 is needed";
                Error::check("scheduler.factor", factor, positive(factor) && share(factor), rule)?;
            }
            Scheduler::Cosine { minimum } => {
                let holds = (0.0..=self.learning_rate).contains(&minimum);
                Error::check("minimum_rate", minimum, holds, "0 to the learning rate is needed")?;
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

/// The learning rate of each optimizer step. With the feature `model`, it implements Burn's `LrScheduler`.
///
/// ```
/// use deepsight_train::schedule::{ScheduleConfig, Scheduler};
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

/// The state of a [`Schedule`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleState {
    /// Optimizer steps done.
    pub step: usize,
    /// State of the plateau schedule.
    pub plateau: Option<PlateauState>,
}

impl Schedule {
    /// Returns the rate of the next step, and counts that step as done.
    pub fn next_rate(&mut self) -> f64 {
        let rate = self.rate();
        self.state.step += 1;
        rate
    }

    /// Returns the rate of the next step.
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

    /// Records the measure of an epoch's validation; higher is better. Only a plateau schedule uses it.
    pub fn observe(&mut self, measure: f64) {
        if let (Scheduler::Plateau(plateau), Some(state)) = (self.config.scheduler, &mut self.state.plateau) {
            plateau.observe(state, measure);
        }
    }

    /// Returns the state of the schedule.
    pub fn state(&self) -> ScheduleState {
        self.state
    }

    /// Restores a state.
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
