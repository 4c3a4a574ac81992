//! `deepsight preprocess`: cuts the faces out of a folder of videos or pictures, for training.

pub(crate) mod args;

use std::process::ExitCode;

use burn::tensor::backend::Backend;
use clap::CommandFactory;
use deepsight_core::{CancelToken, with_causes};
use deepsight_device::with_backend;
use deepsight_face::Mtcnn;
use deepsight_train::prepare::Detectors;
use deepsight_train::{Dataset, Error, Preparation};

use crate::flags::describe;
use crate::interrupt::cancel_on_interrupt;
use crate::output::{complain, print};

pub use args::Args;

use self::args::PrepareBar;

/// Cuts out the faces of the folder that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    let cancel = CancelToken::new();
    let outcome = args.device.prepare().map_err(|error| with_causes(&error)).and_then(|()| {
        cancel_on_interrupt(&cancel).map_err(|error| with_causes(&error))?;
        with_backend!(args.device, |B, device| on::<B>(args, &device, &cancel))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if cancel.is_cancelled() => {
            complain("interrupted: the same command continues");
            ExitCode::from(130)
        }
        Err(message) => {
            complain(&format!("error: {message}"));
            ExitCode::from(2)
        }
    }
}

fn on<B: Backend>(args: &Args, device: &B::Device, cancel: &CancelToken) -> Result<(), String> {
    let failed = |error: Error| describe(&error, &Args::command());
    args.division().validate().map_err(failed)?;
    let mut dataset = Dataset::find(&args.data_dir, args.label).map_err(failed)?;
    if args.method_from_name {
        dataset.name_methods().map_err(failed)?;
    }
    let [frames, pictures, lenient] = args.detectors();
    let load = |config: deepsight_face::MtcnnConfig| -> Result<Mtcnn<B>, String> {
        config.init(device).map_err(|error| with_causes(&error))
    };
    let detectors = Detectors { frames: load(frames)?, pictures: load(pictures)?, lenient: load(lenient)? };
    let preparation = Preparation::new(detectors, args.config()).map_err(failed)?;
    let mut watch = PrepareBar::default();
    let prepared = preparation.run(&dataset, &args.output_dir, cancel, |progress| watch.show(progress));
    watch.end();
    let prepared = prepared.map_err(failed)?;
    let failures = prepared.failures.len();
    let text = args.write(prepared.manifest).map_err(failed)?;
    let text = format!("{text}\n{failures} failures, see {}", args.output_dir.join("failures.csv").display());
    print(&text).map_err(|error| with_causes(&error)).map(drop)
}
