//! Numbers in JSON to the last bit, which decimal digits are not when `serde_json` reads them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{:016x}", number.to_bits()))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let digits = String::deserialize(deserializer)?;
    let bits = u64::from_str_radix(&digits, 16);
    bits.map(f64::from_bits).map_err(|_| D::Error::custom("a number's 16 hexadecimal digits are needed"))
}
