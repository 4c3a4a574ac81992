//! `deepsight selftest`: runs checks on a device that the tests run on a CPU. All reference data is part of the
//! program.

mod classifier;
mod clip;
mod detector;
#[allow(clippy::unwrap_used, reason = "it is code of the tests, on a file that they made")]
#[path = "../../../../deepsight-core/tests/suite/parity/formula.rs"]
mod formula;
mod table;
#[cfg(feature = "flex")]
mod training;
#[path = "../../../../deepsight-core/tests/suite/parity/uniform.rs"]
mod uniform;

use std::process::ExitCode;

use burn::tensor::backend::Backend;
use clap::Parser;
use deepsight_core::{model::Architecture, with_causes};
use deepsight_device::{Device, with_backend};

use self::table::{Check, Table};
use crate::output::{complain, print};

/// Compares detector, classifier, training and the analysis of a clip on a device with their references.
#[derive(Debug, Parser)]
#[command(
    name = "selftest",
    after_help = "Exit codes: 0 if everything agrees, 1 if something does not, 2 if the device cannot be used. The \
clip needs ffmpeg."
)]
pub struct Args {
    /// Device to check
    #[arg(long, value_name = "DEVICE", default_value_t = Device::default(), help = Device::help("Device to check"))]
    device: Device,
    /// Run only the checks whose name contains this text, or one of these texts if repeated
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

/// Runs the checks on the device that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    if let Err(error) = args.device.prepare() {
        complain(&format!("error: {}", with_causes(&error)));
        return ExitCode::from(2);
    }
    let mut table = Table::new(|line| print(line).is_ok(), args.only.clone());
    with_backend!(args.device, |B, device| on::<B>(&mut table, &device));
    table.end(&args.device.to_string())
}

/// Runs every check, even if an earlier one failed.
fn on<B: Backend>(table: &mut Table, device: &B::Device) {
    table.check("detector, 7 photographs", || detector::photographs::<B>(device));
    for architecture in Architecture::ALL {
        table.check(&format!("{architecture}, golden inputs"), || classifier::golden::<B>(architecture, device));
    }
    table.check("vision transformer, golden inputs", || classifier::golden_transformer::<B>(device));
    table.check("bundled model", || classifier::bundled::<B>(device));
    table.check("model file, there and back", || classifier::round_trip::<B>(device));
    #[cfg(feature = "flex")]
    table.check("training step", || training::step::<B>(device));
    #[cfg(not(feature = "flex"))]
    table.check("training step", || Ok(vec![table::Check::absent("loss and gradients", NO_FLEX)]));
    table.check("bundled clip", || clip::report::<B>(device));
}

/// The reason for comparisons that this build cannot make.
#[cfg(not(feature = "flex"))]
const NO_FLEX: &str = "this build has no CPU backend flex to compare with";

/// The result of a check: a row for each comparison, or the reason why it could not run.
type Checked = Result<Vec<Check>, Box<dyn std::error::Error>>;
