//! Excerpts of containers whose packets can be read without an index: ranges of their bytes.

use std::{fs::File, ops::Range};

use super::{ExcerptFrame, Order, PartsOfFrames};
use crate::{
    Video,
    seek::stretch::Stretch,
    units::{begins, resets_h264, units_of},
};

/// Returns the ranges of bytes with the packets of all stretches, and their frames, or `None` if decoding cannot go
/// from one of these stretches to the next.
pub(super) fn ranges(video: &Video, stretches: &[Stretch]) -> Option<(Vec<Range<u64>>, Vec<ExcerptFrame>)> {
    let (scan, header) = (&video.scan, &video.header);
    let stored = &scan.stored;
    let is_flv = header.container == "flv";
    let begins = match header.codec.as_str() {
        // Its parameter sets are at the beginning of the file.
        "h264" if is_flv => resets_h264,
        // Key frames of other codecs do not reset the decoder, which would mix the frames of two stretches.
        codec @ ("h264" | "hevc") if !is_flv => begins(codec)?,
        _ => return None,
    };
    let order = Order::new(stored.iter().map(|packet| packet.raw).collect(), &scan.shown, stretches)?;
    let mut frames = PartsOfFrames::new(&order);
    let mut ranges = Vec::new();
    if is_flv {
        ranges.push(0..stored.first()?.position);
    }
    let mut file = File::open(&video.path).ok()?;
    for (first, last) in order.parts(stretches)? {
        let key =
            scan.key_packets.iter().filter_map(|key| key.place).find(|key| key.position == stored[first].position);
        if !begins(&units_of(&mut file, header.packing(), key?).ok()??) {
            return None;
        }
        let end = stored.get(last + 1).map_or(video.bytes, |next| next.position);
        ranges.push(stored[first].position..end);
        frames.push(first..=last);
    }
    Some((ranges, frames.finish()?))
}
