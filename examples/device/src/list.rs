//! The list of devices that this build can use.

#[cfg(any(feature = "flex", feature = "ndarray"))]
use deepsight_core::{Threads, with_causes};
#[cfg(any(feature = "flex", feature = "ndarray"))]
use deepsight_kernels::InstructionSet;

use super::DeviceLine;

/// Returns the devices that this build can use, one per line, each with a description or the reason why it cannot be
/// used.
#[allow(clippy::vec_init_then_push, reason = "which lines there are depends on the build")]
pub fn list() -> String {
    let kinds: &[Vec<DeviceLine>] = &[
        #[cfg(feature = "flex")]
        vec![("flex".into(), processor())],
        #[cfg(feature = "ndarray")]
        vec![("ndarray".into(), processor())],
        #[cfg(feature = "cuda")]
        super::cuda::list(super::ANSWER_LIMIT),
        #[cfg(feature = "wgpu")]
        super::wgpu::list(),
    ];
    let lines = kinds.concat();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let text = |(name, what): DeviceLine| {
        let what = what.unwrap_or_else(|reason| format!("cannot be used: {reason}"));
        format!("{name:width$}  {what}")
    };
    lines.into_iter().map(text).collect::<Vec<_>>().join("\n")
}

#[cfg(any(feature = "flex", feature = "ndarray"))]
fn processor() -> Result<String, String> {
    let set = InstructionSet::from_environment().map_err(|error| with_causes(&error))?;
    let threads = Threads::global().count();
    Ok(format!("CPU: {threads} {}, {}", if threads == 1 { "thread" } else { "threads" }, set.name()))
}
