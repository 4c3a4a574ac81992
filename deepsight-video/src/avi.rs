//! Times of the frames of AVI files, whose packets state when they are decoded, not when they are shown.
//!
//! A decoder holds back frames that are stored out of their order. ffmpeg gives a frame that it returns the time of the
//! packet that it has just read.

use h264_reader::nal::{
    Nal as _, RefNal,
    sps::{PicOrderCntType, SeqParameterSet},
};

use crate::{
    scan::{HELD_BACK, Stamp},
    units::Unit,
};

/// Packets at the beginning of a file that are decoded to learn when frames are shown.
pub(crate) const DECODED: usize = 2 * HELD_BACK;

/// Returns the times at which the packets of a stream are shown, in the order of the file. `decoded` are its first
/// frames in the order of presentation, with their times, and whether they are key frames. Returns `None` if these are
/// not the frames of the packets.
pub(crate) fn presentation(codec: &str, stamps: &[Stamp], decoded: &[(Option<i64>, bool)]) -> Option<Vec<i64>> {
    let read = stamps.iter().map(|stamp| stamp.decoding).collect::<Option<Vec<_>>>()?;
    if !read.is_sorted_by(|before, after| before < after) {
        return None;
    }
    let held_back = read.binary_search(&decoded.first()?.0?).ok().filter(|&packets| packets <= HELD_BACK)?;
    // After the last packet, ffmpeg goes on at the same distance.
    let (last, length) = (*read.last()?, stamps.last()?.length);
    let read_at = |packet: usize| match read.get(packet) {
        Some(&time) => time,
        None => last.saturating_add((packet + 1 - read.len()) as i64 * length),
    };
    let mut times: Vec<_> = (0..read.len()).map(|packet| read_at(packet + held_back)).collect();
    if codec == "mpeg4" {
        // The container states the times of frames that are shown at once. Others are shown when the next one of these
        // others is decoded.
        let mut next = read.len();
        for packet in (0..read.len()).rev() {
            let is_shown_at_once = stamps[packet].presentation.is_some();
            times[packet] = read_at(if is_shown_at_once { packet } else { next });
            next = if is_shown_at_once { next } else { packet };
        }
    }
    let mut expected: Vec<_> = times.iter().zip(stamps).map(|(&time, stamp)| (time, stamp.key)).collect();
    expected.sort_unstable();
    // ffprobe does not know the times of the last frames of an interval.
    let known = decoded.iter().zip(&expected).take(read.len() - held_back);
    let mut known = known.map_while(|(&(time, key), expected)| Some((time?, key) == *expected));
    known.all(|same| same).then_some(times)
}

/// Returns whether a decoder holds back the same number of frames throughout a stream of H.264 that has these parameter
/// sets alone. Otherwise it may find out later that it must hold back more.
pub(crate) fn is_always_held_back_alike(units: &[Unit]) -> bool {
    let sets = units.iter().filter(|unit| unit.head & 0x1f == 7);
    let mut sets = sets.map(|unit| SeqParameterSet::from_bits(RefNal::new(unit.bytes(), &[], true).rbsp_bits()));
    let is_known = |set: SeqParameterSet| {
        let restrictions = set.vui_parameters.as_ref().and_then(|known| known.bitstream_restrictions.as_ref());
        // The stream states the number, or its pictures are shown in the order in which they are decoded.
        restrictions.is_some() || set.profile().profile_idc() == 66 || set.pic_order_cnt == PicOrderCntType::TypeTwo
    };
    sets.next().is_some_and(|set| set.is_ok_and(is_known)) && sets.next().is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::units::after_start_codes;

    const STEP: i64 = 40_000;

    /// Returns the packets of a stream, with the types of their pictures: `I`, `P` or `B`.
    fn stamps(codec: &str, pictures: &str) -> Vec<Stamp> {
        let stamp = |(packet, picture)| {
            let decoding = packet as i64 * STEP;
            let presentation = (codec == "mpeg4" && picture == 'B').then_some(decoding);
            let (decoding, length) = (Some(decoding), STEP);
            Stamp { presentation, decoding, length, key: picture == 'I', skips: false, place: None }
        };
        pictures.chars().enumerate().map(stamp).collect()
    }

    /// Returns the first frames of a decoder that holds back some of them, with the types of their pictures.
    fn decoded(held_back: i64, pictures: &str) -> Vec<(Option<i64>, bool)> {
        let frame = |(frame, picture)| (Some((frame as i64 + held_back) * STEP), picture == 'I');
        pictures.chars().enumerate().map(frame).collect()
    }

    fn shown(codec: &str, packets: &str, frames: &[(Option<i64>, bool)]) -> Option<Vec<i64>> {
        let times = presentation(codec, &stamps(codec, packets), frames)?;
        Some(times.into_iter().map(|time| time / STEP).collect())
    }

    #[test]
    fn packets_are_shown_when_a_decoder_returns_their_frames() {
        assert_eq!(shown("h264", "IPBPIPBP", &decoded(2, "IBPPIB")).unwrap(), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(shown("h264", "IPPP", &decoded(0, "IPPP")).unwrap(), [0, 1, 2, 3]);
        assert_eq!(shown("mpeg4", "IPBBIBPB", &decoded(1, "IBBPBI")).unwrap(), [1, 4, 2, 3, 6, 5, 8, 7]);
        // The last times of an interval are not known.
        let mut frames = decoded(1, "IBBP");
        frames.extend([(None, false); 3]);
        assert_eq!(shown("mpeg4", "IPBBIBPB", &frames).unwrap(), [1, 4, 2, 3, 6, 5, 8, 7]);
    }

    #[test]
    fn frames_that_are_not_those_of_the_packets_tell_nothing() {
        let good = decoded(1, "IBBPBI");
        let without = |frame: usize| [&good[..frame], &good[frame + 1..]].concat();
        for frames in [Vec::new(), without(2), decoded(1, "IBBPIB"), decoded(33, "IBBPBI"), vec![(None, true)]] {
            assert_eq!(shown("mpeg4", "IPBBIBPB", &frames), None, "{frames:?}");
        }
        assert_eq!(shown("h264", "IPPPIPPP", &decoded(1, "IPPPPI")), None);
        let mut same = stamps("h264", "IPPP");
        same[2].decoding = same[1].decoding;
        assert_eq!(presentation("h264", &same, &decoded(0, "IPPP")), None);
        same[2].decoding = None;
        assert_eq!(presentation("h264", &same, &decoded(0, "IPPP")), None);
    }

    #[test]
    fn a_stream_that_does_not_say_how_many_frames_are_held_back_is_not_known() {
        // From x264, with the number of frames to hold back; then the same set without it; then of the baseline.
        let states = b"\0\0\x01\x67\x64\0\x0a\xac\xd9\x46\x26\xc0\x44\0\0\x03\0\x04\0\0\x03\0\xc8\x3c\x48\x96\x58";
        assert!(is_always_held_back_alike(&after_start_codes(states)));
        assert!(!is_always_held_back_alike(&after_start_codes(&[&states[..], states].concat())));
        assert!(!is_always_held_back_alike(&after_start_codes(b"\0\0\x01\x67\x64\0\x0a")));
        assert!(!is_always_held_back_alike(&after_start_codes(b"\0\0\x01\x65\x88")));
    }
}
