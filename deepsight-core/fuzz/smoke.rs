//! Smoke runs of fuzz targets in the tests of the crates: each seed, and mutations of it that are the same in every
//! run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Calls a fuzz target with every file of a folder, and with `mutations` mutations of each. The target returns whether
/// it could read its input.
///
/// # Panics
/// Panics if the target does: the message names the seed and has the mutated bytes. Also panics if the target cannot
/// read a seed, whose mutations would then test little.
pub(crate) fn smoke(folder: &str, mutations: u64, target: impl Fn(&[u8]) -> bool) {
    let seeds = files(Path::new(folder));
    assert!(!seeds.is_empty(), "no seeds in {folder}");
    for (path, seed) in &seeds {
        assert!(target(seed), "{} is not readable", path.display());
        for number in 0..mutations {
            let mut random = Random(number);
            let other = &seeds[random.below(seeds.len())].1;
            let bytes = mutated(seed, other, &mut random);
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                panic!("panic with mutation {number} of {}: b\"{}\"", path.display(), bytes.escape_ascii());
            }
        }
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    // A script may lie beside the files that it made.
    let paths = paths.filter(|path| path.is_file() && path.extension().is_none_or(|extension| extension != "py"));
    let mut files: Vec<_> =
        paths.map(|path| (path.clone(), std::fs::read(path).expect("the seed can be read"))).collect();
    // The order in which a folder lists its files is not the same on every machine.
    files.sort();
    files
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Bytes at which parsers of numbers, texts and lengths often fail.
const INTERESTING: &[&[u8]] = &[
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff; 4],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    b"\"",
    b",",
    b"\n",
    b"{",
    b"]",
    b"-1",
    b"0",
    b"255",
    b"4294967296",
    b"18446744073709551615",
    b"1e999",
    b"-1e-999",
    b"NaN",
    b"null",
    b"\\u0000",
];

/// Returns the seed after one to four changes.
fn mutated(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let value = INTERESTING[random.below(INTERESTING.len())];
                bytes.splice(at..at, value.iter().copied());
            }
            4 => {
                let value = INTERESTING[random.below(INTERESTING.len())];
                let end = (at + value.len()).min(bytes.len());
                bytes.splice(at..end, value.iter().copied());
            }
            5 => {
                let from = random.below(other.len());
                let part = &other[from..(from + 1 + random.below(64)).min(other.len())];
                bytes.splice(at..end, part.iter().copied());
            }
            6 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next() as u8),
        }
    }
    bytes
}
