use serde::Deserialize;

use super::{REPORT_SCHEMA, Report};
use crate::Error;

impl Report {
    /// Writes the report as one line of JSON, without a line break at its end.
    ///
    /// # Errors
    /// [`Error::MalformedReport`] if a value cannot be written. This does not happen for reports of an analyzer.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(malformed)
    }

    /// Writes the report as indented JSON, without a line break at its end.
    ///
    /// # Errors
    /// The errors of [`to_json`](Self::to_json).
    pub fn to_json_pretty(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(malformed)
    }

    /// Reads the JSON that [`to_json`](Self::to_json) writes. [`evidence`](Self::evidence) stays empty.
    ///
    /// # Errors
    /// [`Error::ReportSchema`] for a report of another schema, [`Error::MalformedReport`] for anything else that is
    /// not a report.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            schema: u64,
        }
        // The schema is read first: for another version, the error should name the schema, not a missing field.
        let Versioned { schema } = serde_json::from_str(json).map_err(malformed)?;
        if schema != u64::from(REPORT_SCHEMA) {
            return Err(Error::ReportSchema { found: schema, supported: REPORT_SCHEMA });
        }
        serde_json::from_str(json).map_err(malformed)
    }
}

fn malformed(error: serde_json::Error) -> Error {
    Error::MalformedReport { reason: error.to_string() }
}

/// Serialization of reasons with their sentence beside their numbers, for programs that do not know the kinds.
pub(super) mod reasons {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Reason;

    #[derive(Serialize)]
    struct Spoken<'a> {
        #[serde(flatten)]
        reason: &'a Reason,
        message: String,
    }

    pub(crate) fn serialize<S: Serializer>(reasons: &[Reason], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(reasons.iter().map(|reason| Spoken { reason, message: reason.to_string() }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Reason>, D::Error> {
        Vec::deserialize(deserializer)
    }
}
