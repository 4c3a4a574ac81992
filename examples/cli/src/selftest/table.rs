//! One line for each thing that was checked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use deepsight_core::with_causes;

use super::Checked;

/// A thing that was checked.
pub(crate) enum Check {
    /// How far something is from its reference, and how far it may be.
    Measured { what: String, found: f64, limit: f64 },
    /// Something that this device or build does not have.
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
    /// What the names of the checks that are wanted have in them.
    only: String,
    agreed: usize,
    absent: usize,
    failed: usize,
}

impl Table {
    pub(crate) fn new(write: fn(&str) -> bool, only: String) -> Self {
        let table = Self { write, only, agreed: 0, absent: 0, failed: 0 };
        table.line(["", "check", "what", "differs by", "limit", "time"]);
        table
    }

    /// Makes a check and writes its lines. That it fails, or panics, is a line too.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Checked) {
        if !name.contains(&self.only) {
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
                // What is no number is within no limit.
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

    /// The last line, and the exit code.
    pub(crate) fn end(self, device: &str) -> ExitCode {
        let Self { agreed, absent, failed, write, .. } = self;
        // To have checked nothing proves nothing.
        let failed = failed.max(usize::from(agreed == 0));
        let verdict = if failed == 0 { "works" } else { "does NOT work" };
        write(&format!("{device} {verdict}: {agreed} agree, {failed} failed, {absent} not there"));
        ExitCode::from(u8::from(failed > 0))
    }

    fn line(&self, [mark, name, what, found, limit, time]: [&str; 6]) {
        let line = format!("{mark:<7}{name:<36}{what:<46}{found:>11}{limit:>8}{time:>9}");
        // A reader that has gone still gets the exit code.
        (self.write)(line.trim_end());
    }
}
