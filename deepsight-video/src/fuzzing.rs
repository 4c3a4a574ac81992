//! The entry points of the fuzz targets in `fuzz/`. The tests call them too, with seeds and mutations of them.

use std::path::Path;

use crate::scan::Packets;
use crate::{DecodeLimits, DecodeOptions, Y4m, answer, probe};

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

/// Reads a YUV4MPEG2 stream of small frames. Returns whether it was readable to its end.
pub fn y4m(bytes: &[u8]) -> bool {
    let options = DecodeOptions::default().with_limits(DecodeLimits::default().with_max_pixels(1 << 16));
    Y4m::new_with(bytes, &options).is_ok_and(|mut frames| frames.all(|frame| frame.is_ok()))
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

    #[test]
    fn a_damaged_y4m_stream_does_not_panic() {
        super::smoke::smoke(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/y4m"), 2000, super::y4m);
    }
}
