//! Serialization of `f64` as its bits in hexadecimal, because `serde_json` does not read decimal digits back to the
//! last bit.

use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{:016x}", number.to_bits()))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<E: serde::de::Error>(digits: &str) -> Result<f64, E> {
    let bits = u64::from_str_radix(digits, 16);
    bits.map(f64::from_bits).map_err(|_| E::custom("a number's 16 hexadecimal digits are needed"))
}

/// The same for numbers that may be absent.
pub(crate) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(|number| format!("{:016x}", number.to_bits())).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|digits| super::parse(&digits)).transpose()
    }
}
