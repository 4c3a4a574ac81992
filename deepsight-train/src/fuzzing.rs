//! The entry point of the fuzz target in `fuzz/`. The tests call it too, with seeds and mutations of them.

pub use crate::manifest::fuzzing::manifest;

#[cfg(test)]
#[path = "../../deepsight-core/fuzz/smoke.rs"]
mod smoke;

#[cfg(test)]
mod tests {
    #[test]
    fn a_damaged_manifest_does_not_panic_and_a_readable_one_is_written_unchanged() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/manifest");
        super::smoke::smoke(seeds, 3000, super::manifest);
    }
}
