//! Canonical JSON (RFC 8785).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::SignatureError;

/// The smallest integer that cannot be told from its neighbor in canonical JSON, whose numbers are doubles.
const MAX_INTEGER: u64 = 1 << 53;

/// Values that a report may have: a thousand times those of a report on an hour of video. Each takes some tens of bytes
/// of memory, and a file of brackets would have one in every two bytes.
const MAX_VALUES: usize = 10_000_000;

/// Returns the canonical form of a report's JSON without its signature.
pub(super) fn canonical(json: &str) -> Result<Vec<u8>, SignatureError> {
    let ambiguous = |error: serde_json::Error| SignatureError::Ambiguous { reason: error.to_string() };
    let left = Cell::new(MAX_VALUES);
    let mut json = serde_json::Deserializer::from_str(json);
    let mut value = Unique(&left).deserialize(&mut json).map_err(ambiguous)?;
    json.end().map_err(ambiguous)?;
    if let Value::Object(fields) = &mut value {
        fields.remove("signature");
    }
    serde_json_canonicalizer::to_vec(&value).map_err(ambiguous)
}

/// A JSON value that all programs read alike: no field occurs twice, because some programs take the first and some the
/// last, and no integer needs more than a double. The cell has the number of values that may still follow.
#[derive(Clone, Copy)]
struct Unique<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| D::Error::custom(format!("it has more than {MAX_VALUES} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        match value {
            0..MAX_INTEGER => Ok(value.into()),
            _ => Err(E::custom(format!("the integer {value} is not below 2^53"))),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        match value.unsigned_abs() {
            0..MAX_INTEGER => Ok(value.into()),
            _ => Err(E::custom(format!("the integer {value} is not above -2^53"))),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom(format!("{value} is not finite")))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(self)?;
            if map.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!("the field {name:?} occurs twice")));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn order_spaces_and_notation_do_not_matter_and_the_signature_is_left_out() {
        let text = canonical("{ \"b\": 1e1, \"a\": [0.50, \"\\u00e9\"],\n \"signature\": {\"value\": 1} }").unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "{\"a\":[0.5,\"é\"],\"b\":10}");
    }

    #[test]
    fn json_that_programs_read_differently_is_refused() {
        for (json, part) in [
            ("{\"verdict\":\"REAL\",\"verdict\":\"FAKE\"}", "\"verdict\" occurs twice"),
            ("{\"run\":{\"a\":1,\"a\":2}}", "\"a\" occurs twice"),
            ("{\"bytes\":9007199254740993}", "9007199254740993"),
            ("{\"bytes\":-9007199254740993}", "9007199254740993"),
            ("{\"a\":1} {\"a\":1}", "trailing"),
        ] {
            let error = canonical(json).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        assert!(canonical("{\"bytes\":9007199254740991}").is_ok());
        let many = format!("[{}0]", "[],".repeat(MAX_VALUES));
        assert!(canonical(&many).unwrap_err().to_string().contains("more than 10000000 values"));
    }
}
