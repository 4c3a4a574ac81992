//! `deepsight devices`: lists what the networks can run on.

use std::process::ExitCode;

use crate::output::{complain, print};

/// Prints the devices of this build, one on a line, with what each is or why it cannot be used, and returns the exit code.
pub fn main() -> ExitCode {
    match print(&deepsight_device::list()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {}", deepsight_core::with_causes(&error)));
            ExitCode::from(1)
        }
    }
}
