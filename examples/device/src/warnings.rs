//! Warnings of the libraries.

use std::io::{self, Write};
use std::panic;
use std::sync::Once;
use std::thread;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Writes warnings of DeepSight's crates to standard error, and ignores those of others.
///
/// Does nothing if the program has already set a logger.
pub fn show() {
    if log::set_logger(&Shown).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Suppresses the message of a panic with which Burn's GPU thread reports that the GPU's memory is full. The caller
/// that asked for the memory gets an error, retries with less, and warns. All other panics are reported as before.
pub fn hide_retried_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !is_retried(thread::current().name(), panic.payload_as_str()) {
                report(panic);
            }
        }));
    });
}

/// Returns whether the panic is that of CubeCL's device thread for lack of memory: `unwrap` of its
/// `IoError::BufferTooBig`. The thread itself continues.
fn is_retried(thread: Option<&str>, message: Option<&str>) -> bool {
    let serves_a_gpu = thread.is_some_and(|name| name.starts_with("DSU-") || name.starts_with("DSD-"));
    serves_a_gpu && message.is_some_and(|message| message.contains("can't allocate buffer of size"))
}

struct Shown;

impl Log for Shown {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with("deepsight")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Ignores a closed standard error.
            let _ = writeln!(io::stderr(), "warning: {}", record.args());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_and_errors_of_our_own_crates_are_shown() {
        let shown = |target, level| Shown.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(shown("deepsight_core::classifier", Level::Warn) && shown("deepsight_face", Level::Error));
        assert!(!shown("deepsight_core", Level::Info));
        assert!(!shown("cubecl_common::device", Level::Warn) && !shown("wgpu_core", Level::Error));
    }

    #[test]
    fn only_the_panic_of_a_gpu_thread_without_memory_is_hidden() {
        let message = "called `Result::unwrap()` on an `Err` value: can't allocate buffer of size: 4096\n";
        assert!(is_retried(Some("DSD-0-0"), Some(message)) && is_retried(Some("DSU-0-1"), Some(message)));
        assert!(!is_retried(Some("main"), Some(message)) && !is_retried(None, Some(message)));
        assert!(!is_retried(Some("DSD-0-0"), Some("index out of bounds")) && !is_retried(Some("DSD-0-0"), None));
    }
}
