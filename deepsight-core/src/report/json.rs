use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

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
    /// not a report, also if a number is too large for single precision.
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
        // Such numbers would be read as infinite, and every number of a report is finite.
        let Finite = serde_json::from_str(json).map_err(malformed)?;
        serde_json::from_str(json).map_err(malformed)
    }
}

/// JSON of which every number is finite in single precision.
struct Finite;

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Numbers)
    }
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = Finite;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finite number")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Finite, E> {
        match (number as f32).is_finite() {
            true => Ok(Finite),
            false => Err(E::custom(format_args!("the number {number:e} is too large"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Finite, A::Error> {
        while let Some(Finite) = items.next_element()? {}
        Ok(Finite)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Finite, A::Error> {
        while let Some((IgnoredAny, Finite)) = entries.next_entry()? {}
        Ok(Finite)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Finite, E> {
        Ok(Finite)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Finite, E> {
        Ok(Finite)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Finite, E> {
        Ok(Finite)
    }

    fn visit_str<E>(self, _: &str) -> Result<Finite, E> {
        Ok(Finite)
    }

    fn visit_unit<E>(self) -> Result<Finite, E> {
        Ok(Finite)
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
