//! The devices that this build can use, and what of them is here.

#[cfg(any(feature = "flex", feature = "ndarray"))]
use deepsight_core::{Threads, with_causes};
#[cfg(any(feature = "flex", feature = "ndarray"))]
use deepsight_kernels::InstructionSet;

/// A device's name as `--device` takes it, and what it is or why it cannot be used.
pub(super) type Line = (String, Result<String, String>);

/// The devices that this build can use, one a line: what each is, or why it cannot be used.
#[allow(clippy::vec_init_then_push, reason = "which lines there are depends on the build")]
pub fn list() -> String {
    let kinds: &[Vec<Line>] = &[
        #[cfg(feature = "flex")]
        vec![("flex".into(), processor())],
        #[cfg(feature = "ndarray")]
        vec![("ndarray".into(), processor())],
        #[cfg(feature = "cuda")]
        super::cuda::list(super::ANSWER_LIMIT),
        #[cfg(feature = "wgpu")]
        vec![("wgpu".into(), super::wgpu::list())],
    ];
    let lines = kinds.concat();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let text = |(name, what): Line| {
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
