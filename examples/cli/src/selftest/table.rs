//! The table of checks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use deepsight_core::with_causes;

use super::Checked;

/// The result of a comparison.
pub(crate) enum Check {
    /// A difference from the reference, and its limit.
    Measured { what: String, found: f64, limit: f64 },
    /// A comparison that this device or build does not support.
    Absent { what: String, reason: String },
}

impl Check {
    pub(crate) fn new(what: impl Into<String>, found: f64, limit: f64) -> Self {
        Self::Measured { what: what.into(), found, limit }
    }

    pub(crate) fn absent(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Absent { what: what.into(), reason: reason.to_string() }
    }
}

pub(crate) struct Table {
    write: fn(&str) -> bool,
    /// Texts of which the names of the selected checks contain one. If there is none, all checks are selected.
    only: Vec<String>,
    agreed: usize,
    absent: usize,
    failed: usize,
}

impl Table {
    pub(crate) fn new(write: fn(&str) -> bool, only: Vec<String>) -> Self {
        let table = Self { write, only, agreed: 0, absent: 0, failed: 0 };
        table.line(["", "check", "what", "differs by", "limit", "time"]);
        table
    }

    /// Runs a check and writes its lines. An error or panic is also a line.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Checked) {
        if !self.only.is_empty() && !self.only.iter().any(|only| name.contains(only)) {
            return;
        }
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(check));
        let seconds = format!("{:.1} s", started.elapsed().as_secs_f64());
        let message = match outcome {
            Ok(Ok(checks)) => {
                checks.iter().for_each(|check| self.checked(name, check, &seconds));
                return;
            }
            Ok(Err(error)) => with_causes(error.as_ref()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                format!("panic: {}", text.or_else(|| panic.downcast_ref().copied()).unwrap_or("no message"))
            }
        };
        self.failed += 1;
        self.line(["FAILED", name, &message, "", "", &seconds]);
    }

    fn checked(&mut self, name: &str, check: &Check, seconds: &str) {
        match check {
            Check::Measured { what, found, limit } => {
                // NaN is not within any limit.
                let agrees = found <= limit;
                *(if agrees { &mut self.agreed } else { &mut self.failed }) += 1;
                let (found, limit) = (format!("{found:.1e}"), format!("{limit:.0e}"));
                self.line([if agrees { "ok" } else { "FAILED" }, name, what, &found, &limit, seconds]);
            }
            Check::Absent { what, reason } => {
                self.absent += 1;
                self.line(["-", name, &format!("{what}: {reason}"), "", "", seconds]);
            }
        }
    }

    /// Writes the last line, and returns the exit code.
    pub(crate) fn end(self, device: &str) -> ExitCode {
        let Self { agreed, absent, failed, write, .. } = self;
        // A run without checks fails.
        let failed = failed.max(usize::from(agreed == 0));
        let verdict = if failed == 0 { "works" } else { "does NOT work" };
        write(&format!("{device} {verdict}: {agreed} agree, {failed} failed, {absent} not available"));
        ExitCode::from(u8::from(failed > 0))
    }

    fn line(&self, [mark, name, what, found, limit, time]: [&str; 6]) {
        let line = format!("{mark:<7}{name:<36}{what:<46}{found:>11}{limit:>8}{time:>9}");
        // Ignores a closed standard output: the exit code still tells the result.
        (self.write)(line.trim_end());
    }
}
