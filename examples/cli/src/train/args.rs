//! Flags and progress of `deepsight train`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use deepsight_core::{Engine, Error, FaceCrop, Threads, model::Architecture};
use deepsight_device::Device;
use deepsight_train::augment::ClipCompression;
use deepsight_train::metrics::SourceAuc;
use deepsight_train::sampler::Source;
use deepsight_train::schedule::SchedulerName;
use deepsight_train::split::SplitBy;
use deepsight_train::step::Precision;
use deepsight_train::trainer::{ClassWeights, Ending};
use deepsight_train::{Augmentation, Init, Manifest, Outcome, RunOptions, TrainConfig, TrainData, TrainProgress};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};

use crate::output::{complain, print};

/// Trains a network that tells real faces from fake ones.
#[derive(Debug, Parser)]
#[command(
    name = "train",
    after_help = "Writes best.safetensors (for analyze --model), last.safetensors, checkpoint.safetensors, \
history.json and events for TensorBoard into the output folder. Each manifest is a source, named by its folder. The \
best epoch has the highest video AUC, averaged over the sources; a source with only real or only fake faces in split \
val has no AUC and is left out of the mean.\n\n\
Ctrl-C saves a checkpoint. The same command with --resume continues; on a CPU the result is the same, bit for bit.\n\n\
Exit codes: 0 if done, 1 if training failed, 2 for bad input or usage, 130 if interrupted."
)]
pub struct Args {
    /// Manifest of face crops, as `preprocess` writes it; repeatable. People with the same name are the same person
    #[arg(long, value_name = "CSV", required_unless_present = "data_dir")]
    pub manifest: Vec<PathBuf>,
    /// Folder with such a manifest.csv; repeatable
    #[arg(long, value_name = "DIR")]
    pub data_dir: Vec<PathBuf>,
    /// Folder for all output
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Continue from the checkpoint in the output folder
    #[arg(long)]
    pub resume: bool,

    /// Network: efficientnet_b0 to efficientnet_b7, tf_efficientnet_b0 to tf_efficientnet_b7 (TensorFlow's padding and
    /// batch-norm epsilon), or efficientnet_lite0 to efficientnet_lite4
    #[arg(long, value_name = "NAME", default_value = "efficientnet_lite0")]
    pub model_name: Architecture,
    /// Initial weights: a model file, an ImageNet state dict (.pth or .safetensors), or none
    #[arg(long, value_name = "FILE", default_value = "none", value_parser = init)]
    pub init: Init,
    /// Side of the network's input in pixels; by default that of timm
    #[arg(long, value_name = "PIXELS")]
    pub input_size: Option<u32>,

    /// Number of epochs
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub epochs: usize,
    /// Faces per epoch, rounded to whole steps; by default the number of faces in the data
    #[arg(long, value_name = "N")]
    pub draws: Option<usize>,
    /// Faces per forward and backward pass
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub batch_size: usize,
    /// Passes per step, whose gradients are accumulated
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub accumulate: usize,
    /// Learning rate after the warm-up
    #[arg(long, value_name = "RATE", default_value_t = 5e-4)]
    pub learning_rate: f64,
    /// Schedule of the learning rate: step, cosine or plateau
    #[arg(long, value_name = "NAME", default_value_t = SchedulerName::Cosine)]
    pub scheduler: SchedulerName,
    /// Epochs of warm-up
    #[arg(long, value_name = "EPOCHS", default_value_t = 1.0)]
    pub warmup: f64,
    /// Scheduler step: epochs between reductions
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub step_epochs: usize,
    /// Schedulers step and plateau: factor of each reduction
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1)]
    pub rate_factor: f64,
    /// Scheduler plateau: epochs without a better mean video AUC before a reduction
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub plateau_patience: usize,
    /// Schedulers cosine and plateau: lowest learning rate
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub minimum_rate: f64,
    /// Weight decay of AdamW; not applied to norms and biases
    #[arg(long, value_name = "DECAY", default_value_t = 1e-2)]
    pub weight_decay: f32,
    /// Weights of the classes in the loss: equal, balanced (also without a value), or two numbers REAL,FAKE
    #[arg(long, value_name = "WEIGHTS", num_args = 0..=1, default_value = "equal", default_missing_value = "balanced")]
    pub class_weights: ClassWeights,
    /// Label smoothing: share of the target that is spread over both classes
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub label_smoothing: f32,
    /// Dropout: probability of dropping a pooled feature
    #[arg(long, value_name = "P", default_value_t = 0.2)]
    pub dropout: f32,
    /// Stochastic depth: probability of skipping the last block; it rises linearly to it over the blocks
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub drop_path: f32,
    /// Validate and save an exponential moving average of the weights, with this decay (0.999 without a value)
    #[arg(long, value_name = "DECAY", num_args = 0..=1, default_missing_value = "0.999")]
    pub ema: Option<f64>,
    /// Largest norm of the gradient; larger gradients are scaled down to it
    #[arg(long, value_name = "LENGTH")]
    pub grad_clip: Option<f64>,
    /// Sharpness-aware minimization (SAM): use the gradients at the point this far uphill from the weights. Doubles the
    /// time of a step (0.05 without a value)
    #[arg(long, value_name = "RADIUS", num_args = 0..=1, default_missing_value = "0.05")]
    pub sam: Option<f64>,
    /// Stop after this many epochs without a better mean video AUC
    #[arg(long, value_name = "EPOCHS")]
    pub early_stopping: Option<usize>,
    /// Seed of all random draws. Default: 0, or with --init a number made from that file
    ///
    /// A run that continues from a model which the same seed trained would draw the same samples once more, with the
    /// same augmentation, and learn them by heart.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Augmentation of the faces
    #[arg(long, value_name = "PRESET", value_enum, default_value_t = Preset::Robust)]
    pub augment: Preset,
    /// Share of the faces that are compressed as H.264 first, with their neighbors in time (0.1 without a value); slow
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.1")]
    pub clip_compression: Option<f32>,
    /// Share of the fakes that are self-blended real faces, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    pub self_blended: f32,
    /// Share of the self-blended fakes that take the face of another real person, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub donors: f32,
    /// Share of the other fakes that are drawn together with their original, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub paired: f32,
    /// Share of the draws for the faces in a folder, as FOLDER=SHARE; repeatable. FOLDER is as in the manifest; with
    /// several manifests, the manifest's own folder comes before it
    #[arg(long, value_name = "FOLDER=SHARE", value_parser = source)]
    pub source: Vec<Source>,
    /// Write a contact sheet of augmented faces (PNG or JPEG)
    #[arg(long, value_name = "FILE")]
    pub preview: Option<PathBuf>,
    /// What training and validation must not share: person (and the person's videos), or video
    #[arg(long, value_name = "WHAT", default_value_t = SplitBy::Person)]
    pub split_by: SplitBy,
    /// Crop of the faces, if the manifest does not state it: box or margin:FRACTION
    #[arg(long, value_name = "CROP", value_parser = crop)]
    pub crop: Option<FaceCrop>,

    /// Device to train on
    #[arg(long, value_name = "DEVICE")]
    #[arg(help = Device::help("Device to train on (if repeated, each batch is divided among the devices)"))]
    pub device: Vec<Device>,
    /// Engine that computes the steps: auto, burn or fused
    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Auto)]
    pub engine: Engine,
    /// Half precision: bf16 (also without a value) or f16, if the device has it
    #[arg(long, value_name = "TYPE", num_args = 0..=1, default_value = "f32", default_missing_value = "bf16")]
    #[arg(hide_default_value = true)]
    pub use_amp: Precision,
    /// Number of threads that load samples
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub workers: usize,
    /// Cache for decoded crops, in MiB; other crops are read again each time
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub cache: usize,
    /// Number of threads that compute; by default one for each core
    #[arg(long, value_name = "N")]
    pub threads: Option<u16>,
    /// Steps between checkpoints within an epoch
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub checkpoint_every: usize,
    /// Name of the model; by default that of the output folder
    #[arg(long)]
    pub name: Option<String>,
    /// Description of the training data for the model card; by default the number of faces and videos
    #[arg(long, value_name = "TEXT")]
    pub trained_on: Option<String>,
    /// Terms of use of the weights for the model card
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub terms: String,
}

/// An augmentation of faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// What the Python system does
    Seed,
    /// Compression, scaling, blur, noise, colour and more
    Robust,
    /// Nothing
    None,
}

/// Returns a number made from the first bytes of a digest, short enough to type.
fn first_number(digest: &[u8]) -> u64 {
    digest.iter().take(4).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl Args {
    /// Returns the configuration.
    pub fn config(&self) -> TrainConfig {
        let mut config = TrainConfig::new(self.model_name);
        (config.init, config.input_size) = (self.init.clone(), self.input_size);
        (config.epochs, config.draws) = (self.epochs, self.draws);
        (config.batch_size, config.accumulate) = (self.batch_size, self.accumulate);
        (config.learning_rate, config.scheduler, config.warmup) = (self.learning_rate, self.scheduler, self.warmup);
        (config.step_epochs, config.rate_factor) = (self.step_epochs, self.rate_factor);
        (config.plateau_patience, config.minimum_rate) = (self.plateau_patience, self.minimum_rate);
        (config.weight_decay, config.class_weights) = (self.weight_decay, self.class_weights);
        (config.label_smoothing, config.dropout, config.drop_path) =
            (self.label_smoothing, self.dropout, self.drop_path);
        (config.ema, config.grad_clip, config.sam) = (self.ema, self.grad_clip, self.sam);
        config.early_stopping = self.early_stopping;
        (config.seed, config.self_blended, config.sources) = (self.seed(), self.self_blended, self.source.clone());
        (config.paired, config.self_blending.donors) = (self.paired, self.donors);
        config.augmentation = match self.augment {
            Preset::Seed => Augmentation::seed(),
            Preset::Robust => Augmentation::robust(),
            Preset::None => Augmentation::none(),
        };
        config.clip_compression = self.clip_compression.map(|share| {
            let mut clip = ClipCompression::default();
            clip.probability = share;
            clip
        });
        (config.precision, config.engine) = (self.use_amp, self.engine);
        (config.split_by, config.crop) = (self.split_by, self.crop);
        config
    }

    fn seed(&self) -> u64 {
        let made_from = |init: &Init| match init {
            // A file that cannot be read is reported when training starts.
            Init::File(path) => std::fs::read(path).ok().map(|bytes| first_number(&Sha256::digest(bytes))),
            _ => None,
        };
        self.seed.or_else(|| made_from(&self.init)).unwrap_or(0)
    }

    /// Returns the options that do not affect the result.
    pub fn options(&self) -> RunOptions {
        let mut options = RunOptions::new(&self.output_dir);
        (options.workers, options.checkpoint_every) = (self.workers, self.checkpoint_every);
        (options.name, options.trained_on) = (self.name.clone(), self.trained_on.clone());
        options.terms.clone_from(&self.terms);
        options
    }

    /// Reads the faces of the manifests.
    ///
    /// # Errors
    /// Returns an error if a manifest cannot be read, and the errors of [`TrainData::new`].
    pub fn data(&self, config: &TrainConfig) -> Result<TrainData, deepsight_train::Error> {
        let without = |folder: &&PathBuf| !folder.join("manifest.csv").is_file();
        if let Some(folder) = self.data_dir.iter().find(without) {
            let rule = "it must hold a manifest.csv; preprocess makes one of a folder of videos or pictures";
            return Err(deepsight_train::Error::Setting {
                name: "data_dir",
                value: folder.display().to_string(),
                rule,
            });
        }
        let folders = self.data_dir.iter().map(|folder| folder.join("manifest.csv"));
        let manifests =
            self.manifest.iter().cloned().chain(folders).map(Manifest::read).collect::<Result<Vec<_>, _>>()?;
        Ok(TrainData::new(manifests, config)?.with_cache_bytes(self.cache.saturating_mul(1 << 20)))
    }

    /// Returns the devices of the flags, or the build's default.
    pub fn devices(&self) -> Vec<Device> {
        if self.device.is_empty() { vec![Device::default()] } else { self.device.clone() }
    }

    /// Returns the pool of threads for steps and validation.
    ///
    /// # Errors
    /// Returns an error if the system refuses to start its threads.
    pub fn threads(&self) -> Result<Threads, Error> {
        self.threads.map_or_else(|| Ok(Threads::global()), |count| Threads::new(count.into()))
    }
}

fn init(text: &str) -> Result<Init, String> {
    Ok(if text == "none" { Init::None } else { Init::File(text.into()) })
}

fn source(text: &str) -> Result<Source, String> {
    let parts = text.rsplit_once('=').and_then(|(folder, share)| Some((folder, share.parse().ok()?)));
    let (folder, share) = parts.ok_or("FOLDER=SHARE is needed, such as faces/lfw=0.2")?;
    Ok(Source { folder: folder.into(), share })
}

fn crop(text: &str) -> Result<FaceCrop, String> {
    let needed = || "box or margin:FRACTION is needed".to_owned();
    match text.split_once(':') {
        None if text == "box" => Ok(FaceCrop::Box),
        Some(("margin", fraction)) => Ok(FaceCrop::Margin { fraction: fraction.parse().map_err(|_| needed())? }),
        _ => Err(needed()),
    }
}

/// Returns the line of one source in an epoch's validation.
fn of_source(source: &SourceAuc) -> String {
    let SourceAuc { name, reals, fakes, frame_auc, video_auc, .. } = source;
    match frame_auc.zip(*video_auc) {
        Some((faces, videos)) => {
            format!("\n  {name}: face AUC {faces:.4}, video AUC {videos:.4} ({reals} real, {fakes} fake videos)")
        }
        None => format!("\n  {name}: no AUC, because it has one class only ({reals} real, {fakes} fake videos)"),
    }
}

/// The progress of a run: a bar on a terminal, else a line at intervals; and a line for each epoch on standard output.
#[derive(Debug)]
pub(crate) struct TrainBar {
    bar: ProgressBar,
    last_line: Instant,
    epochs: usize,
    steps_per_epoch: usize,
    /// Faces and seconds in this epoch.
    pace: (usize, f64),
}

/// Time between two lines if standard error is not a terminal.
const LINES: Duration = Duration::from_secs(30);

impl Default for TrainBar {
    fn default() -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, last_line: Instant::now(), epochs: 0, steps_per_epoch: 0, pace: (0, 0.0) }
    }
}

impl TrainBar {
    /// Shows the progress.
    pub(crate) fn show(&mut self, progress: &TrainProgress<'_>) {
        match progress {
            TrainProgress::Started { epochs, steps_per_epoch, done, engine } => {
                (self.epochs, self.steps_per_epoch) = (*epochs, *steps_per_epoch);
                let from = if *done > 0 { format!(", {done} steps done before") } else { String::new() };
                complain(&format!("{epochs} epochs of {steps_per_epoch} steps on the {engine} engine{from}"));
            }
            TrainProgress::Step(step) => {
                self.pace = (self.pace.0 + step.faces, self.pace.1 + step.elapsed.as_secs_f64());
                let (done, rate) = (step.step_in_epoch + 1, self.pace.0 as f64 / self.pace.1.max(1e-9));
                let left = Duration::from_secs_f64(
                    self.pace.1 / done.max(1) as f64 * self.steps_per_epoch.saturating_sub(done) as f64,
                );
                let text = format!("loss {:.4}, {rate:.1} faces/s, {} left", step.loss, HumanDuration(left));
                self.tell(step.epoch, "steps", done, self.steps_per_epoch, text);
            }
            TrainProgress::Skipped { loss_scale } => {
                complain(&format!("gradients overflowed: loss scale {loss_scale}"));
            }
            TrainProgress::Validating { done, total } => {
                self.bar.set_prefix("validation");
                self.bar.set_length(*total as u64);
                self.bar.set_position(*done as u64);
                self.bar.set_message("faces");
            }
            TrainProgress::Epoch { summary, best, elapsed, .. } => {
                self.pace = (0, 0.0);
                let mut line = format!(
                    "epoch {}/{}  loss {:.4}  val loss {:.4}  face AUC {:.4}  video AUC {:.4}{}{}  {}",
                    summary.epoch + 1,
                    self.epochs,
                    summary.loss,
                    summary.validation_loss,
                    summary.frame_auc,
                    summary.video_auc,
                    if summary.sources.len() > 1 {
                        format!("  mean over sources {:.4}", summary.mean_video_auc)
                    } else {
                        String::new()
                    },
                    if *best { "  best" } else { "" },
                    HumanDuration(*elapsed),
                );
                if summary.sources.len() > 1 {
                    line.extend(summary.sources.iter().map(of_source));
                }
                // A closed standard output must not end a run of hours.
                self.bar.suspend(|| print(&line).map(drop).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn tell(&mut self, epoch: usize, what: &str, done: usize, of: usize, text: String) {
        let epoch = format!("epoch {}/{}", epoch + 1, self.epochs);
        if !self.bar.is_hidden() {
            self.bar.set_prefix(epoch);
            self.bar.set_length(of as u64);
            self.bar.set_position(done as u64);
            self.bar.set_message(text);
        } else if self.last_line.elapsed() >= LINES {
            self.last_line = Instant::now();
            complain(&format!("{epoch}, {done}/{of} {what}, {text}"));
        }
    }

    /// Removes the bar, and prints how the run ended.
    pub(crate) fn end(&self, output: &Path, outcome: Option<&Outcome>) {
        self.bar.finish_and_clear();
        let Some(outcome) = outcome else { return };
        let why = match outcome.ending {
            Ending::Stopped => "stopped early",
            _ => "done",
        };
        if let (Some(best), true) = (outcome.best, outcome.ending != Ending::Cancelled) {
            let file = output.join("best.safetensors");
            let several = outcome.history.last().is_some_and(|epoch| epoch.sources.len() > 1);
            let (what, auc) =
                if several { ("mean video AUC", best.mean_video_auc) } else { ("video AUC", best.video_auc) };
            let text = format!("{why}: {} is of epoch {}, {what} {auc:.4}", file.display(), best.epoch + 1);
            print(&text).map(drop).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seed(flags: &[&str]) -> u64 {
        Args::parse_from([&["train", "--data-dir", "crops", "--output-dir", "run"], flags].concat()).config().seed
    }

    #[test]
    fn a_run_that_continues_from_a_model_draws_other_samples_than_the_run_that_trained_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            std::fs::write(folder.path().join(name), content).unwrap();
            folder.path().join(name).display().to_string()
        };
        let (first, second) = (file("first", "weights"), file("second", "trained weights"));
        assert_eq!((seed(&[]), seed(&["--init", "gone"])), (0, 0));
        assert_ne!(seed(&["--init", &first]), 0);
        assert_ne!(seed(&["--init", &first]), seed(&["--init", &second]));
        assert_eq!(seed(&["--init", &first]), seed(&["--init", &first]));
        assert_eq!(seed(&["--init", &first, "--seed", "7"]), 7);
    }
}
