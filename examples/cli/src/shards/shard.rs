//! The parts into which a list of clips is divided.

use std::fmt;
use std::str::FromStr;

/// A shard: the positions `p` of a list with `p % of == index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    index: u32,
    of: u32,
}

/// Largest number of shards. Its digits fit the files' names.
const MAX: u32 = 99_999;

impl Shard {
    /// The whole list.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Creates the shard `index`, from 0, of `of` shards.
    ///
    /// # Errors
    /// Returns a message if `of` is 0 or above the limit, or if `index >= of`.
    pub fn new(index: u32, of: u32) -> Result<Self, String> {
        match of {
            0 => Err(format!("{index}/{of} has no shards: the second number must be 1 or more")),
            of if of > MAX => Err(format!("{index}/{of} has too many shards: at most {MAX} are allowed")),
            of if index >= of => Err(format!("shard {index} of {of} does not exist: the shards are 0 to {}", of - 1)),
            _ => Ok(Self { index, of }),
        }
    }

    /// Returns the number of the shard, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of shards.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Returns the shard's positions in a list of `count`.
    pub fn positions(self, count: usize) -> impl Iterator<Item = usize> {
        (self.index as usize..count).step_by(self.of as usize)
    }

    /// Returns whether the shard contains this position.
    pub fn has(self, position: usize) -> bool {
        position % self.of as usize == self.index as usize
    }

    /// Returns the name of the shard's file.
    pub fn file_name(self) -> String {
        format!("reports-{:05}-of-{:05}.jsonl", self.index, self.of)
    }

    /// Returns the shard whose file has this name.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (index, of) = name.strip_prefix("reports-")?.strip_suffix(".jsonl")?.split_once("-of-")?;
        let shard = Self::new(index.parse().ok()?, of.parse().ok()?).ok()?;
        (shard.file_name() == name).then_some(shard)
    }
}

/// Formats the shard as `--shard` expects it.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let (index, of) = numbers.ok_or("I/N is needed, such as 0/8 for the first of eight")?;
        Self::new(index, of)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_position_is_in_exactly_one_shard_and_shards_are_equal_to_within_one() {
        for count in 0..40 {
            for of in 1..45 {
                let shards: Vec<Shard> = (0..of).map(|index| Shard::new(index, of).unwrap()).collect();
                let mut all: Vec<usize> = shards.iter().flat_map(|shard| shard.positions(count)).collect();
                all.sort_unstable();
                assert_eq!(all, (0..count).collect::<Vec<_>>());
                let sizes: Vec<usize> = shards.iter().map(|shard| shard.positions(count).count()).collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
                assert!((0..count).all(|position| shards.iter().filter(|shard| shard.has(position)).count() == 1));
            }
        }
    }

    #[test]
    fn shards_are_read_as_they_are_written_and_others_are_refused_with_the_reason() {
        for text in ["0/1", "7/8", "31/32", "99998/99999"] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!(shard.to_string(), text);
            assert_eq!(Shard::of_file_name(&shard.file_name()), Some(shard));
        }
        assert_eq!(Shard::new(3, 8).unwrap().file_name(), "reports-00003-of-00008.jsonl");
        for (text, part) in [
            ("8/8", "shard 8 of 8 does not exist: the shards are 0 to 7"),
            ("0/0", "must be 1 or more"),
            ("0/100000", "at most 99999 are allowed"),
            ("3", "I/N is needed"),
            ("-1/8", "I/N is needed"),
            ("a/b", "I/N is needed"),
        ] {
            let message = text.parse::<Shard>().unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        for name in ["reports-3-of-8.jsonl", "reports-00008-of-00008.jsonl", "reports.jsonl", "x"] {
            assert_eq!(Shard::of_file_name(name), None, "{name}");
        }
    }
}
