//! Error messages for the command line: they name a setting by its flag, and the command or flag that helps.

use std::error::Error;

use clap::Command;
use deepsight_core::{Error as CoreError, with_causes};
use deepsight_train::Error as TrainError;

/// The flags of settings whose name differs from the flag's, or that are part of another setting.
const FLAGS: [(&str, &str); 14] = [
    ("clip_compression.probability", "clip-compression"),
    ("crop.down", "down"),
    ("crop.fraction", "margin"),
    ("crop.scale", "scale"),
    ("devices", "device"),
    ("false_positive_rate", "fpr"),
    ("manifests", "manifest"),
    ("output", "output-dir"),
    ("precision", "use-amp"),
    ("self_blending", "donors"),
    ("self_blending.donors", "donors"),
    ("shares", "split"),
    ("sources", "source"),
    ("weight format", "format"),
];

/// Describes an error and its causes. Names an invalid setting by the command's flag, if it has one.
pub(crate) fn describe(error: &(dyn Error + 'static), command: &Command) -> String {
    let (mut text, mut cause) = (with_causes(error), Some(error));
    while let Some(error) = cause {
        let train = error.downcast_ref::<TrainError>();
        let core = match train {
            Some(TrainError::Core(core)) => Some(core),
            // The cause of an error of a model file is boxed.
            _ => error.downcast_ref().or_else(|| error.downcast_ref::<Box<CoreError>>().map(AsRef::as_ref)),
        };
        let named = match (train, core) {
            (Some(TrainError::Setting { name, value, .. }), _) => Some((*name, value)),
            (Some(TrainError::CheckpointSetting { name, found, .. }), _) => Some((name.as_str(), found)),
            (_, Some(CoreError::Setting { name, value, .. })) => Some((*name, value)),
            _ => None,
        };
        if let Some((name, value)) = named
            && let Some(flag) = flag(command, name)
        {
            text = text.replacen(&format!("{name} is {value}"), &format!("--{flag} is {value}"), 1);
        }
        // A guess in the rule of a setting.
        if flag(command, "from").is_some() {
            text = text.replace("(origin `", "(`--from ");
        }
        if let Some(cure) = cure(train, core) {
            text = format!("{text}: {cure}");
        }
        cause = error.source();
    }
    text
}

/// Returns the flag of a setting, without dashes. Returns `None` if the command has none.
fn flag(command: &Command, setting: &str) -> Option<String> {
    let listed = FLAGS.iter().find(|(name, _)| *name == setting).map(|(_, flag)| (*flag).to_owned());
    let exists = |flag: &String| command.get_arguments().any(|argument| argument.get_long() == Some(flag));
    listed.into_iter().chain([setting.replace('_', "-")]).find(exists)
}

/// Returns what to do about an error of a library, whose message cannot name commands and flags.
fn cure(train: Option<&TrainError>, core: Option<&CoreError>) -> Option<&'static str> {
    match (train, core) {
        (Some(TrainError::NothingToTrain { .. }), _) => Some("see --ignore-official-split and --split-by"),
        (Some(TrainError::Setting { name: "split", .. }), _) => Some("`deepsight preprocess` divides them"),
        (_, Some(CoreError::NoModelCard)) => Some("`deepsight convert` makes a model file of a timm state dict"),
        (_, Some(CoreError::VariantUnknown { .. })) => {
            Some("give --variant pytorch or --variant tensorflow; a --model-name that begins with tf_ means the latter")
        }
        (_, Some(CoreError::OtherOrigin { .. })) => Some("see --from"),
        (_, Some(CoreError::OtherNetwork { .. })) => Some("see --model-name and --from"),
        (_, Some(CoreError::OtherArchitecture { .. })) => Some("--model-name names it, beside --from too"),
        (_, Some(CoreError::ActivationUnknown { .. })) => Some("give --activation gelu or --activation quick_gelu"),
        (_, Some(CoreError::EnsembleHash { .. })) => Some("`deepsight convert --ensemble` makes it"),
        (_, Some(CoreError::HeadMissing)) => Some("see --head-weights"),
        (_, Some(CoreError::NoSuchWeights { .. })) => Some("see --weights"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;
    use deepsight_core::model::ModelFile;
    use deepsight_train::trainer::ClassWeights;
    use deepsight_train::{Label, SplitConfig, TrainConfig};

    use super::*;

    /// Changes one setting of a valid configuration.
    type Change = fn(&mut TrainConfig);

    fn message(change: Change) -> String {
        let mut config = TrainConfig::default();
        change(&mut config);
        describe(&config.validate().unwrap_err(), &crate::train::Args::command())
    }

    #[test]
    fn every_setting_of_a_training_run_is_named_by_its_flag() {
        let changes: [(Change, &str); 18] = [
            (|c| c.input_size = Some(1), "--input-size is 1: "),
            (|c| c.epochs = 0, "--epochs is 0: "),
            (|c| c.batch_size = 1, "--batch-size is 1: "),
            (|c| c.accumulate = 0, "--accumulate is 0: "),
            (|c| c.draws = Some(0), "--draws is 0: "),
            (|c| c.warmup = -1.0, "--warmup is -1: "),
            (|c| c.weight_decay = -1.0, "--weight-decay is -1: "),
            (|c| c.label_smoothing = 1.0, "--label-smoothing is 1: "),
            (|c| c.dropout = 1.0, "--dropout is 1: "),
            (|c| c.drop_path = 1.0, "--drop-path is 1: "),
            (|c| c.ema = Some(1.0), "--ema is 1: "),
            (|c| c.grad_clip = Some(0.0), "--grad-clip is 0: "),
            (|c| c.sam = Some(0.0), "--sam is 0: "),
            (|c| c.early_stopping = Some(0), "--early-stopping is 0: "),
            (|c| c.learning_rate = -1.0, "--learning-rate is -1: a number above 0 is needed"),
            (|c| c.minimum_rate = -1.0, "--minimum-rate is -1: "),
            (|c| c.class_weights = ClassWeights::Given([0.0, 1.0]), "--class-weights is 0,1: "),
            (
                |c| {
                    let mut clip = deepsight_train::augment::ClipCompression::default();
                    clip.probability = 2.0;
                    c.clip_compression = Some(clip);
                },
                "--clip-compression is 2: ",
            ),
        ];
        for (change, start) in changes {
            let message = message(change);
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn the_flags_of_the_table_exist() {
        let commands = [
            crate::preprocess::Args::command(),
            crate::train::Args::command(),
            crate::evaluate::Args::command(),
            crate::analyze::Args::command(),
        ];
        for (setting, known) in FLAGS {
            let found = commands.iter().find_map(|command| flag(command, setting));
            assert_eq!(found.as_deref(), Some(known), "{setting}");
        }
        assert_eq!(flag(&commands[1], "face_confidence"), None, "a setting of another command");
    }

    #[test]
    fn a_setting_that_a_cause_names_becomes_a_flag_too() {
        let analyze = crate::analyze::Args::command();
        let error = TrainError::Core(CoreError::Setting {
            name: "face_confidence",
            value: "2".into(),
            rule: "must be within 0..=1",
        });
        assert_eq!(describe(&error, &analyze), "--face-confidence is 2: it must be within 0..=1");
        let mut shares = SplitConfig::default();
        shares.shares = [0.0, 1.0, 1.0];
        let error = shares.validate().unwrap_err();
        let message = describe(&error, &crate::preprocess::Args::command());
        assert!(message.starts_with("--split is 0/1/1: "), "{message}");
    }

    #[test]
    fn an_origin_that_an_error_guesses_becomes_a_flag() {
        let rule = "is needed (origin `sbi`?)";
        let error = CoreError::Setting { name: "model_name", value: "missing".into(), rule };
        let message = describe(&error, &crate::convert::Args::command());
        assert_eq!(message, "--model-name is missing: it is needed (`--from sbi`?)");
    }

    #[test]
    fn errors_that_another_command_or_flag_resolves_name_it() {
        let error = TrainError::NothingToTrain { label: Label::Real, listed: "a".into() };
        let message = describe(&error, &crate::preprocess::Args::command());
        assert!(message.ends_with(": see --ignore-official-split and --split-by"), "{message}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timm.safetensors");
        // A header of two bytes: no tensors and no metadata.
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
        let error = ModelFile::read(&path).unwrap_err();
        let message = describe(&error, &crate::analyze::Args::command());
        assert!(message.contains("`deepsight` metadata") && message.ends_with("of a timm state dict"), "{message}");
    }
}
