use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use deepsight_core::{Engine, FaceCrop, model::Architecture};
use serde::{Deserialize, Serialize};

use crate::augment::ClipCompression;
use crate::blend::SelfBlending;
use crate::sampler::Source;
use crate::schedule::{Plateau, ScheduleConfig, Scheduler, SchedulerName};
use crate::split::SplitBy;
use crate::step::Precision;
use crate::{Augmentation, Error};

/// The settings that decide what a training run computes. Two runs of the same configuration on the same data give the
/// same model. On a CPU, the models are the same to the last bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TrainConfig {
    /// The network.
    pub model_name: Architecture,
    /// Side of the network's input in pixels, `32..=1024`. The architecture's own size if not given.
    pub input_size: Option<u32>,
    /// The weights that training starts from.
    pub init: Init,
    /// Number of epochs, from 1.
    pub epochs: usize,
    /// Number of faces drawn in an epoch, rounded up to an even number. The number of rows to draw from if not given.
    /// Faces at the end that do not fill a whole step are left out.
    pub draws: Option<usize>,
    /// Number of faces in one pass, from 2.
    pub batch_size: usize,
    /// Number of passes whose gradients are combined for one step of the optimizer, from 1.
    pub accumulate: usize,
    /// The learning rate after the warm-up, above 0.
    pub learning_rate: f64,
    /// How the learning rate changes after the warm-up.
    pub scheduler: SchedulerName,
    /// Epochs of warm-up, over which the learning rate rises, from 0. May be a fraction.
    pub warmup: f64,
    /// Epochs between reductions of the scheduler `step`, from 1.
    pub step_epochs: usize,
    /// Factor by which the schedulers `step` and `plateau` reduce the rate, above 0 and below 1.
    pub rate_factor: f64,
    /// Epochs without a better mean video AUC that the scheduler `plateau` tolerates. One more reduces the rate.
    pub plateau_patience: usize,
    /// The lowest rate of the schedulers `cosine` and `plateau`.
    pub minimum_rate: f64,
    /// Decoupled weight decay (AdamW), from 0. It is not applied to norms and biases, as in timm.
    pub weight_decay: f32,
    /// Weights of real and fake in the loss.
    pub class_weights: ClassWeights,
    /// Share of the target that is spread over both classes, `0..1`.
    pub label_smoothing: f32,
    /// Probability of dropping a pooled feature, `0..1`.
    pub dropout: f32,
    /// Probability of leaving out the branch of the last block, `0..1`. The probability rises linearly from 0 at the
    /// first block (Huang et al., ECCV 2016).
    pub drop_path: f32,
    /// Share of the mean weights that a step keeps, `0..1`. The mean weights are then validated and written. `None` for
    /// no mean.
    pub ema: Option<f64>,
    /// Limit of the gradients' length, above 0. Longer gradients are scaled down to it. `None` for no limit.
    pub grad_clip: Option<f64>,
    /// Radius of sharpness-aware minimization (SAM; Foret et al., ICLR 2021), above 0. A step then uses the gradients
    /// at the point that lies this far uphill from the network's weights, which takes twice the time. `None` for the
    /// gradients at the weights themselves.
    pub sam: Option<f64>,
    /// Epochs without a better mean video AUC after which the run ends. `None` to run all epochs.
    pub early_stopping: Option<usize>,
    /// Augmentation of the faces.
    pub augmentation: Augmentation,
    /// Compression of some faces as video, together with their neighbors in time, before augmentation.
    pub clip_compression: Option<ClipCompression>,
    /// Share of the fakes that are made from real faces, `0..=1`. If above 0, all fakes of a source without fakes are
    /// made from real faces.
    pub self_blended: f32,
    /// Share of the other fakes that are drawn together with the real face that they were made of, `0..=1`.
    pub paired: f32,
    /// How self-blended fakes are made.
    pub self_blending: SelfBlending,
    /// Folders that have their own share of the draws.
    pub sources: Vec<Source>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Precision of the passes.
    pub precision: Precision,
    /// Engine that computes the passes.
    pub engine: Engine,
    /// What training and validation must not share. With [`SplitBy::Video`], the scores of validation are too good.
    pub split_by: SplitBy,
    /// How faces were cut from their frames, for manifests that do not state it.
    pub crop: Option<FaceCrop>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            model_name: Architecture::EfficientNetLite0,
            input_size: None,
            init: Init::None,
            epochs: 20,
            draws: None,
            batch_size: 32,
            accumulate: 1,
            learning_rate: 5e-4,
            scheduler: SchedulerName::Cosine,
            warmup: 1.0,
            step_epochs: 5,
            rate_factor: 0.1,
            plateau_patience: 2,
            minimum_rate: 0.0,
            weight_decay: 1e-2,
            class_weights: ClassWeights::Equal,
            label_smoothing: 0.05,
            dropout: 0.2,
            drop_path: 0.0,
            ema: None,
            grad_clip: None,
            sam: None,
            early_stopping: None,
            augmentation: Augmentation::robust(),
            clip_compression: None,
            self_blended: 0.0,
            paired: 0.0,
            self_blending: SelfBlending::default(),
            sources: Vec::new(),
            seed: 0,
            precision: Precision::Full,
            engine: Engine::Auto,
            split_by: SplitBy::Person,
            crop: None,
        }
    }
}

impl TrainConfig {
    /// Returns the defaults for that network.
    pub fn new(model_name: Architecture) -> Self {
        Self { model_name, ..Self::default() }
    }

    /// Returns the side of the network's input in pixels.
    pub fn input_size(&self) -> u32 {
        self.input_size.unwrap_or(self.model_name.config().resolution as u32)
    }

    /// Checks every value that does not need the data.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first value outside its range.
    pub fn validate(&self) -> Result<(), Error> {
        let below_one = |value: f32| (0.0..1.0).contains(&value);
        let number = |value: f64| value >= 0.0 && value.is_finite();
        // Larger values are typing errors, or would overflow.
        const MANY: usize = 1_000_000;
        const FACES: usize = 100_000_000;
        let many = |value: usize| (1..=MANY).contains(&value);
        let (one, share) = ("1 to 1000000 is needed", "a number from 0 up to but not 1 is needed");
        let size = self.input_size();
        Error::check("input_size", size, (32..=1024).contains(&size), "32 to 1024 pixels are usable")?;
        Error::check("epochs", self.epochs, many(self.epochs), one)?;
        let batch = (2..=MANY).contains(&self.batch_size);
        Error::check("batch_size", self.batch_size, batch, "2 to 1000000 is needed: batch norms compare")?;
        Error::check("accumulate", self.accumulate, many(self.accumulate), one)?;
        if let Some(draws) = self.draws {
            Error::check("draws", draws, (1..=FACES).contains(&draws), "1 to 100000000 is needed")?;
        }
        let warmup = number(self.warmup) && self.warmup <= MANY as f64;
        Error::check("warmup", self.warmup, warmup, "0 to 1000000 epochs are usable")?;
        let decay = number(self.weight_decay.into());
        Error::check("weight_decay", self.weight_decay, decay, "a number from 0 up is needed")?;
        Error::check("label_smoothing", self.label_smoothing, below_one(self.label_smoothing), share)?;
        Error::check("dropout", self.dropout, below_one(self.dropout), share)?;
        Error::check("drop_path", self.drop_path, below_one(self.drop_path), share)?;
        if let Some(ema) = self.ema {
            Error::check("ema", ema, (0.0..1.0).contains(&ema), share)?;
        }
        if let Some(limit) = self.grad_clip {
            Error::check("grad_clip", limit, limit > 0.0 && limit.is_finite(), "a number above 0 is needed")?;
        }
        if let Some(radius) = self.sam {
            Error::check("sam", radius, radius > 0.0 && radius.is_finite(), "a number above 0 is needed")?;
        }
        if let Some(epochs) = self.early_stopping {
            Error::check("early_stopping", epochs, epochs > 0, one)?;
        }
        let step = self.scheduler == SchedulerName::Step;
        Error::check("step_epochs", self.step_epochs, !step || many(self.step_epochs), one)?;
        let (uses_factor, factor) = (self.scheduler != SchedulerName::Cosine, self.rate_factor);
        let holds = !uses_factor || (factor > 0.0 && factor < 1.0);
        Error::check("rate_factor", factor, holds, "a number above 0 and below 1 is needed")?;
        if let Some(clip) = &self.clip_compression {
            let share = clip.probability;
            Error::check(
                "clip_compression.probability",
                share,
                (0.0..=1.0).contains(&share),
                "a share in 0..=1 is needed",
            )?;
        }
        if let ClassWeights::Given([real, fake]) = self.class_weights {
            let holds = [real, fake].iter().all(|weight| *weight > 0.0 && weight.is_finite());
            Error::check("class_weights", self.class_weights, holds, "numbers above 0 are needed")?;
        }
        self.schedule(1).init().map(drop)
    }

    /// Returns the schedule of a run with that many optimizer steps in an epoch.
    pub fn schedule(&self, steps_per_epoch: usize) -> ScheduleConfig {
        let scheduler = match self.scheduler {
            SchedulerName::Step => {
                Scheduler::Step { every: self.step_epochs * steps_per_epoch, factor: self.rate_factor }
            }
            SchedulerName::Cosine => Scheduler::Cosine { minimum: self.minimum_rate },
            SchedulerName::Plateau => {
                let mut plateau = Plateau::new(self.rate_factor, self.plateau_patience);
                plateau.minimum = self.minimum_rate;
                Scheduler::Plateau(plateau)
            }
        };
        let warmup = (self.warmup * steps_per_epoch as f64).round() as usize;
        ScheduleConfig::new(self.learning_rate, self.epochs * steps_per_epoch, scheduler).with_warmup(warmup)
    }
}

/// The weights that a network starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Init {
    /// Random, from the run's seed.
    #[default]
    None,
    /// A model file of this project, whose classifier is loaded too, or a state dict for another task such as ImageNet,
    /// whose classifier is not loaded.
    File(PathBuf),
}

/// The weights of the classes in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClassWeights {
    /// The same weight for both.
    #[default]
    Equal,
    /// The more often an epoch draws a class, the lower its weight. The sampler draws both equally often, so this is
    /// close to [`Self::Equal`].
    Balanced,
    /// Weights of real and fake, above 0.
    Given([f32; 2]),
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("equal"),
            Self::Balanced => f.write_str("balanced"),
            Self::Given([real, fake]) => write!(f, "{real},{fake}"),
        }
    }
}

impl FromStr for ClassWeights {
    type Err = Error;

    /// Parses `equal`, `balanced`, or two numbers with a comma between them: the weights of real and fake.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "equal" => return Ok(Self::Equal),
            "balanced" => return Ok(Self::Balanced),
            _ => {}
        }
        let numbers: Option<Vec<f32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some([real, fake]) => Ok(Self::Given([*real, *fake])),
            _ => {
                let rule = "equal, balanced or two numbers (real,fake) are needed";
                Err(Error::Setting { name: "class_weights", value: text.into(), rule })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn settings_outside_their_range_are_named_as_fields_of_the_configuration() {
        let message = |change: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(message(|config| config.epochs = 0), "epochs is 0: 1 to 1000000 is needed");
        assert!(message(|config| config.epochs = usize::MAX).ends_with("1 to 1000000 is needed"));
        assert!(message(|config| config.batch_size = 1).starts_with("batch_size is 1: 2 to 1000000"));
        assert!(message(|config| config.draws = Some(usize::MAX)).starts_with("draws is "));
        assert!(message(|config| config.learning_rate = -1.0).starts_with("learning_rate is -1: "));
        assert!(message(|config| config.drop_path = 1.0).starts_with("drop_path is 1: "));
        let step = |config: &mut TrainConfig| (config.scheduler, config.step_epochs) = (SchedulerName::Step, 0);
        assert!(message(step).starts_with("step_epochs is 0: "));
        let plateau = |config: &mut TrainConfig| (config.scheduler, config.rate_factor) = (SchedulerName::Plateau, 1.0);
        assert!(message(plateau).starts_with("rate_factor is 1: "));
        assert!(message(|config| config.ema = Some(f64::NAN)).starts_with("ema is NaN: "));
        assert!(message(|config| config.sam = Some(0.0)).starts_with("sam is 0: "));
        assert!(message(|config| config.class_weights = ClassWeights::Given([0.0, 1.0])).contains("0,1"));
        TrainConfig::default().validate().unwrap();
    }

    #[test]
    fn class_weights_read_back_as_they_are_written() {
        for weights in [ClassWeights::Equal, ClassWeights::Balanced, ClassWeights::Given([0.5, 2.0])] {
            assert_eq!(weights.to_string().parse::<ClassWeights>().unwrap(), weights);
        }
        assert!("1,2,3".parse::<ClassWeights>().is_err());
    }
}
