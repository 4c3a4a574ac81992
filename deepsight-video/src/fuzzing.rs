//! The entry point of the fuzz target in `fuzz/`. The tests call it too, with seeds and mutations of them.

use std::path::Path;

use crate::scan::Packets;
use crate::{answer, probe};

/// Reads ffprobe's JSON output, and draws the conclusions that [`Video::open`](crate::Video::open) draws from it.
/// Returns whether it was readable.
pub fn ffprobe_json(bytes: &[u8]) -> bool {
    let read = |max_frames| {
        let mut packets = Packets::new(max_frames);
        let answer = answer::read(bytes, &mut |packet| packets.push(packet));
        answer.map(|answer| probe::conclude(answer, packets, Path::new("clip.mp4"))).is_ok()
    };
    read(3);
    read(u64::MAX)
}

#[cfg(test)]
#[path = "../../deepsight-core/fuzz/smoke.rs"]
mod smoke;

#[cfg(test)]
mod tests {
    #[test]
    fn a_damaged_answer_of_ffprobe_does_not_panic() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/ffprobe_json");
        super::smoke::smoke(seeds, 2000, super::ffprobe_json);
    }
}
