//! `deepsight train`: trains a network to tell real faces from fake ones.

pub(crate) mod args;

use std::process::ExitCode;

use burn::tensor::backend::Backend;
use clap::CommandFactory;
use deepsight_core::{CancelToken, with_causes};
use deepsight_device::{Device, backend_devices, with_backend};
use deepsight_train::preview::preview;
use deepsight_train::trainer::{Ending, EventLog};
use deepsight_train::{Error, TrainProgress, Trainer};

use crate::flags::describe;
use crate::interrupt::cancel_on_interrupt;
use crate::output::{complain, print};

pub use args::Args;

use self::args::TrainBar;

/// The error of the command: its message and exit code.
struct TrainFailure(String, u8);

impl TrainFailure {
    fn input(error: Error) -> Self {
        Self(describe(&error, &Args::command()), 2)
    }

    fn training(error: Error) -> Self {
        Self(describe(&error, &Args::command()), 1)
    }
}

/// Trains the network that the flags describe, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    let devices = args.devices();
    let outcome = prepare(&devices).and_then(|()| {
        let cancel = CancelToken::new();
        cancel_on_interrupt(&cancel).map_err(|error| TrainFailure(with_causes(&error), 2))?;
        with_backend!(devices[0], |B, device| on::<B>(args, &device, &devices, &cancel))
    });
    match outcome {
        Ok(Ending::Cancelled) => {
            complain("interrupted: repeat the command with --resume to continue");
            ExitCode::from(130)
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(TrainFailure(message, code)) => {
            complain(&format!("error: {message}"));
            ExitCode::from(code)
        }
    }
}

fn prepare(devices: &[Device]) -> Result<(), TrainFailure> {
    devices.iter().try_for_each(Device::prepare).map_err(|error| TrainFailure(with_causes(&error), 2))
}

fn on<B: Backend>(
    args: &Args,
    device: &B::Device,
    choices: &[Device],
    cancel: &CancelToken,
) -> Result<Ending, TrainFailure> {
    let devices = backend_devices::<B>(device, choices).map_err(|message| TrainFailure(message, 2))?;
    let threads = args.threads().map_err(|error| TrainFailure::input(error.into()))?;
    let config = args.config();
    config.validate().map_err(TrainFailure::input)?;
    let data = args.data(&config).map_err(TrainFailure::input)?;
    if let Some(path) = &args.preview {
        let draws = data.sampler().epoch(0);
        let sheet = preview(data.dataset(), &draws[..draws.len().min(64)], 8).map_err(TrainFailure::input)?;
        sheet.save(path).map_err(|error| TrainFailure(format!("{}: {}", path.display(), with_causes(&error)), 2))?;
    }
    let make = if args.resume { Trainer::<B>::resume } else { Trainer::<B>::new };
    let mut trainer = make(config, data, &devices, args.options()).map_err(TrainFailure::input)?;
    print(&format!("{}: {}", args.output_dir.display(), trainer.data().described()))
        .map_err(|error| TrainFailure(with_causes(&error), 1))?;

    let mut events = EventLog::new(args.output_dir.join("events"), trainer.step()).map_err(TrainFailure::training)?;
    if trainer.step() == 0 {
        events.samples(trainer.data()).map_err(TrainFailure::training)?;
    }
    let mut bar = TrainBar::default();
    let mut lost = None;
    let mut report = |progress: &TrainProgress<'_>| {
        bar.show(progress);
        // A curve that cannot be written must not end a run of hours, so it is only a warning.
        if lost.is_none()
            && let Err(error) = events.record(progress)
        {
            complain(&format!("warning: no more events for TensorBoard: {}", with_causes(&error)));
            lost = Some(());
        }
    };
    let outcome = threads.install(|| trainer.run(cancel, &mut report));
    bar.end(&args.output_dir, outcome.as_ref().ok());
    outcome.map(|outcome| outcome.ending).map_err(TrainFailure::training)
}
