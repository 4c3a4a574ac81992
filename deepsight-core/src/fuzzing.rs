//! The entry points of the fuzz targets in `fuzz/`. The tests call them too, with seeds and mutations of them.

use crate::{EnsembleFile, Report};

#[cfg(feature = "model")]
pub use crate::foreign::fuzzing::{checkpoint, pickle};

/// Reads a model file, and writes it again. Returns whether it was readable.
#[cfg(feature = "model")]
pub fn model_file(bytes: &[u8]) -> bool {
    let read = crate::model::ModelFile::from_bytes(bytes);
    // A value that the format cannot represent is an error here.
    read.map(|model| model.to_bytes()).is_ok()
}

/// Reads the JSON of a report, writes the report in every form, and reads its JSON again. Returns whether it was
/// readable.
///
/// # Panics
/// Panics if it is not.
pub fn report(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(report) = Report::from_json(text) else { return false };
    let json = report.to_json().unwrap_or_else(|error| panic!("{error}"));
    let again = Report::from_json(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(again.to_json().unwrap_or_else(|error| panic!("{error}")), json);
    let _ = report.to_html();
    true
}

/// Reads an ensemble file, combines scores with it, and checks that it stays the same when it is written and read
/// again. Returns whether it was readable.
///
/// # Panics
/// Panics if it is not.
pub fn ensemble(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let path = std::path::Path::new("fuzzed");
    let Ok(file) = EnsembleFile::from_json(text, path) else { return false };
    let json = serde_json::to_string(&file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(EnsembleFile::from_json(&json, path).unwrap_or_else(|error| panic!("{error}: {json}")), file);
    let scores = vec![1.0; file.models.len()];
    let combined = file.config.combination.combine(&scores, &vec![0.5; file.models.len()]);
    assert!((0.0..=1.0).contains(&combined), "{combined}: {json}");
    true
}

#[cfg(test)]
#[path = "../fuzz/smoke.rs"]
mod smoke;

#[cfg(test)]
mod tests {
    use super::smoke::smoke;

    /// Returns the path of a folder of this crate.
    macro_rules! folder {
        ($name:literal) => {
            concat!(env!("CARGO_MANIFEST_DIR"), "/", $name)
        };
    }

    #[cfg(feature = "model")]
    #[test]
    fn a_damaged_pickle_does_not_panic() {
        smoke(folder!("fuzz/seeds/pickle"), 2000, super::pickle);
    }

    #[cfg(feature = "model")]
    #[test]
    fn a_damaged_checkpoint_does_not_panic() {
        smoke(folder!("tests/checkpoints"), 1000, super::checkpoint);
    }

    #[cfg(feature = "model")]
    #[test]
    fn a_damaged_model_file_does_not_panic() {
        smoke(folder!("fuzz/seeds/model_file"), 1000, super::model_file);
    }

    #[test]
    fn a_damaged_ensemble_file_does_not_panic_and_a_readable_one_is_usable() {
        smoke(folder!("fuzz/seeds/ensemble"), 2000, super::ensemble);
    }

    #[test]
    fn a_damaged_report_does_not_panic_and_a_readable_one_can_be_written() {
        smoke(folder!("fuzz/seeds/report"), 500, super::report);
    }
}
