//! Progress bars on standard error, if that is a terminal.

use std::path::Path;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for each clip that is being analyzed, one below the other.
#[derive(Debug, Default)]
pub(super) struct Bars(MultiProgress);

impl Bars {
    /// Adds the bar of a clip of which `frames` frames are analyzed.
    pub(super) fn clip(&self, clip: &Path, frames: u64) -> ProgressBar {
        let bar = self.bar(frames, "{prefix} {bar:30} {pos}/{len} frames, {msg}");
        bar.set_prefix(clip.file_name().unwrap_or_default().to_string_lossy().into_owned());
        bar.with_message("0 faces")
    }

    /// Removes a bar.
    pub(super) fn remove(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.0.remove(bar);
    }

    /// Adds a bar of `length` steps.
    pub(super) fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.0.add(ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden()).with_style(style))
    }

    /// Hides the bars while `write` prints lines.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}
