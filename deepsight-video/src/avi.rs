//! AVI files, whose packets state when they are decoded, not when they are shown.
//!
//! A decoder holds back frames that are stored out of their order. ffmpeg gives a frame that it returns the time of the
//! packet that it has just read.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use h264_reader::nal::{
    Nal as _, RefNal,
    sps::{PicOrderCntType, SeqParameterSet},
};

use crate::{
    scan::{HELD_BACK, Stamp},
    units::{Unit, after_start_codes, beginning_of},
};

/// Packets at the beginning of a file that are decoded to learn when frames are shown.
pub(crate) const DECODED: usize = 2 * HELD_BACK;

/// When the packets of a stream are shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presentation {
    /// Times in microseconds, in the order of the file.
    pub(crate) times: Vec<i64>,
    /// Whether key frames are shown when their packets are.
    pub(crate) has_keys: bool,
}

/// Finds out when the packets of a stream are shown. `decoded` are its first frames in the order of presentation, with
/// their times, and whether they are key frames. Returns `None` if these are not the frames of the packets.
pub(crate) fn presentation(codec: &str, stamps: &[Stamp], decoded: &[(Option<i64>, bool)]) -> Option<Presentation> {
    let read = stamps.iter().map(|stamp| stamp.decoding).collect::<Option<Vec<_>>>()?;
    if !read.is_sorted_by(|before, after| before < after) {
        return None;
    }
    let held_back = read.binary_search(&decoded.first()?.0?).ok().filter(|&packets| packets <= HELD_BACK)?;
    // After the last packet, ffmpeg goes on at the end of that packet, and then at the usual distance.
    let end = read.last()?.saturating_add(stamps.last()?.length);
    let mut distances: Vec<_> = read.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0);
    let time_at = |packet: usize| match read.get(packet) {
        Some(&time) => time,
        None => end.saturating_add(usual.saturating_mul((packet - read.len()) as i64)),
    };
    let mut times: Vec<_> = (0..read.len()).map(|packet| time_at(packet + held_back)).collect();
    if codec == "mpeg4" && held_back == 1 {
        // The container states the times of frames that are shown at once. Others are shown when the next one of these
        // others is decoded.
        let mut next = read.len();
        for packet in (0..read.len()).rev() {
            let is_shown_at_once = stamps[packet].presentation.is_some();
            times[packet] = time_at(if is_shown_at_once { packet } else { next });
            next = if is_shown_at_once { next } else { packet };
        }
    }
    let mut expected: Vec<_> = times.iter().zip(stamps).map(|(&time, stamp)| (time, stamp.key)).collect();
    expected.sort_unstable();
    // ffprobe does not know the times of the last frames of an interval.
    let known = decoded.iter().rposition(|(time, _)| time.is_some())? + 1;
    let known = known.min(read.len() - held_back);
    if known < read.len().min(DECODED) - held_back {
        return None;
    }
    let mut pairs = decoded.iter().zip(&expected).take(known);
    let has_times = pairs.clone().all(|((time, _), (expected, _))| *time == Some(*expected));
    let has_keys = pairs.all(|((_, key), (_, expected))| key == expected);
    has_times.then_some(Presentation { times, has_keys: has_keys && !(codec == "mpeg4" && held_back != 1) })
}

/// Returns whether a decoder holds back the same number of frames throughout a stream of H.264 that has these parameter
/// sets alone. Otherwise it may find out later that it must hold back more.
pub(crate) fn is_always_held_back_alike(units: &[Unit]) -> bool {
    let sets = units.iter().filter(|unit| unit.head & 0x1f == 7);
    let mut sets = sets.map(|unit| SeqParameterSet::from_bits(RefNal::new(unit.bytes(), &[], true).rbsp_bits()));
    let is_known = |set: SeqParameterSet| {
        let restrictions = set.vui_parameters.as_ref().and_then(|known| known.bitstream_restrictions.as_ref());
        // The stream states the number, or its pictures are shown in the order in which they are decoded. Where some
        // may be missing, ffmpeg takes a jump of their numbers for a change of order.
        let in_order = set.pic_order_cnt == PicOrderCntType::TypeTwo && !set.gaps_in_frame_num_value_allowed_flag;
        restrictions.is_some() || in_order
    };
    sets.next().is_some_and(|set| set.is_ok_and(is_known)) && sets.next().is_none()
}

/// Bytes at the beginning of a file in which the description of its video is searched.
const BEGINNING: u64 = 1 << 16;

/// Returns the parameter sets of H.264 in the description of the first video of a file, as other containers have them
/// (ISO/IEC 14496-15, section 5.3.3.1) or as a byte stream. There are none if the packets have them.
pub(crate) fn described_sets(path: &Path) -> io::Result<Vec<Unit>> {
    Ok(sets_in(&beginning_of(path, BEGINNING)?).unwrap_or_default())
}

fn sets_in(bytes: &[u8]) -> Option<Vec<Unit>> {
    let find = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).position(|window| window == name);
    let video = find(bytes, b"vids")?;
    let format = bytes.get(video + find(&bytes[video..], b"strf")? + 4..)?;
    let (size, format) = format.split_first_chunk()?;
    // The format of the pictures comes first.
    let settings = format.get(40..u32::from_le_bytes(*size) as usize)?;
    if settings.first() != Some(&1) {
        return Some(after_start_codes(settings));
    }
    let mut stream = Vec::new();
    let mut rest = settings.get(6..)?;
    for _ in 0..settings[5] & 0x1f {
        let (length, after) = rest.split_first_chunk()?;
        let (set, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        stream.extend([&[0, 0, 1], set].concat());
        rest = after;
    }
    Some(after_start_codes(&stream))
}

/// Most chunks of a file, without those of its packets. Each part of a file has about three, and all parts but the last
/// have about a gigabyte.
const MOST_CHUNKS: usize = 1000;

/// Bytes by which recorders count a part as too long: its own head.
const PART_HEAD: u64 = 8;

/// Returns where the last packets of a file end, in bytes, if the file has all bytes that its parts state.
pub(crate) fn end_of_packets(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    let (mut at, mut end_of_part, mut end_of_packets) = (0u64, 0, None);
    for _ in 0..MOST_CHUNKS {
        let mut head = [0; 12];
        file.seek(SeekFrom::Start(at))?;
        if end.saturating_sub(at) < head.len() as u64 || file.read_exact(&mut head).is_err() {
            return Ok(end_of_packets);
        }
        let [a, b, c, d, size @ .., e, f, g, h] = head;
        let size = u64::from(u32::from_le_bytes(size));
        let after = at.saturating_add(8 + size);
        let is_packets = ([a, b, c, d], [e, f, g, h]) == (*b"LIST", *b"movi");
        match &[a, b, c, d] {
            b"RIFF" if size == 0 || after > end + PART_HEAD => return Ok(None),
            // Its chunks come next.
            b"RIFF" => (at, end_of_part) = (at + 12, after),
            // Something else after the last part.
            _ if at >= end_of_part => return Ok(end_of_packets),
            _ if after > end => return Ok(None),
            _ => {
                end_of_packets = if is_packets { Some(after) } else { end_of_packets };
                at = after + size % 2;
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
        let found = presentation(codec, &stamps(codec, packets), frames).filter(|found| found.has_keys)?;
        Some(found.times.into_iter().map(|time| time / STEP).collect())
    }

    #[test]
    fn packets_are_shown_when_a_decoder_returns_their_frames() {
        assert_eq!(shown("h264", "IPBPIPBP", &decoded(2, "IBPPIB")).unwrap(), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(shown("h264", "IPPP", &decoded(0, "IPPP")).unwrap(), [0, 1, 2, 3]);
        assert_eq!(shown("mpeg4", "IPBBIBPB", &decoded(1, "IBBPBIBP")).unwrap(), [1, 4, 2, 3, 6, 5, 8, 7]);
        // The last times of an interval are not known.
        let mut frames = decoded(1, "IBBPBIB");
        frames.push((None, false));
        assert_eq!(shown("mpeg4", "IPBBIBPB", &frames).unwrap(), [1, 4, 2, 3, 6, 5, 8, 7]);
    }

    #[test]
    fn frames_that_are_not_those_of_the_packets_tell_nothing() {
        let good = decoded(1, "IBBPBIB");
        let without = |frame: usize| [&good[..frame], &good[frame + 1..]].concat();
        for frames in [
            Vec::new(),
            without(2),
            good[..6].to_vec(),
            decoded(1, "IBBPIBB"),
            decoded(33, "IBBPBIB"),
            vec![(None, true)],
        ] {
            assert_eq!(shown("mpeg4", "IPBBIBPB", &frames), None, "{frames:?}");
        }
        assert_eq!(shown("h264", "IPPPIPPP", &decoded(1, "IPPPPIP")), None);
        let times_alone = presentation("h264", &stamps("h264", "IPPPIPPP"), &decoded(1, "IPPPPIP")).unwrap();
        assert!(!times_alone.has_keys && times_alone.times[0] == STEP, "{times_alone:?}");
        assert_eq!(shown("mpeg4", "IPPP", &decoded(0, "IPPP")), None);
        let mut same = stamps("h264", "IPPP");
        same[2].decoding = same[1].decoding;
        assert_eq!(presentation("h264", &same, &decoded(0, "IPPP")), None);
        same[2].decoding = None;
        assert_eq!(presentation("h264", &same, &decoded(0, "IPPP")), None);
    }

    #[test]
    fn a_stream_that_does_not_say_how_many_frames_are_held_back_is_not_known() {
        // From x264, with the number of frames to hold back.
        let states = b"\0\0\x01\x67\x64\0\x0a\xac\xd9\x46\x26\xc0\x44\0\0\x03\0\x04\0\0\x03\0\xc8\x3c\x48\x96\x58";
        assert!(is_always_held_back_alike(&after_start_codes(states)));
        assert!(!is_always_held_back_alike(&after_start_codes(&[&states[..], states].concat())));
        assert!(!is_always_held_back_alike(&after_start_codes(b"\0\0\x01\x67\x64\0\x0a")));
        assert!(!is_always_held_back_alike(&after_start_codes(b"\0\0\x01\x65\x88")));
    }

    #[test]
    fn the_description_of_the_video_may_have_its_parameter_sets() {
        let described = |settings: &[u8]| {
            let format = [&[0; 40][..], settings].concat();
            let size = (format.len() as u32).to_le_bytes();
            let heads: Vec<_> = sets_in(&[b"RIFF....strhvids....strf", &size[..], &format].concat())?
                .iter()
                .map(|unit| unit.head)
                .collect();
            Some(heads)
        };
        assert_eq!(described(b"\x01\x64\0\x1f\xff\xe2\0\x03\x67ab\0\x02\x67c\x01\0\x01\x68").unwrap(), [0x67, 0x67]);
        assert_eq!(described(b"\0\0\0\x01\x67ab\0\0\x01\x68").unwrap(), [0x67, 0x68]);
        assert!(described(b"").unwrap().is_empty());
        for damaged in [&b"\x01\x64\0\x1f\xff\xe1\0\x09\x67ab"[..], b"\x01\x64\0\x1f\xff\xe1\0", b"\x01\x64"] {
            assert_eq!(described(damaged), None, "{damaged:?}");
        }
        for damaged in [&b""[..], b"vids", b"vidsstrf\x01\0", b"vidsstrf\xff\xff\xff\xff"] {
            assert!(sets_in(damaged).is_none(), "{damaged:?}");
        }
    }

    #[test]
    fn packets_end_where_the_parts_of_a_file_say_if_it_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.avi");
        let chunk = |head: &[u8], content: &[u8]| [head, &(content.len() as u32).to_le_bytes(), content].concat();
        let packets = |content: usize| chunk(b"LIST", &[&b"movi"[..], &vec![7; content]].concat());
        let part = |chunks: &[Vec<u8>]| chunk(b"RIFF", &[&b"AVI "[..], &chunks.concat()].concat());
        let whole = part(&[chunk(b"JUNK", &[7; 20]), packets(30), chunk(b"idx1", &[7; 16])]);
        let sized = |size: u32| [&b"RIFF"[..], &size.to_le_bytes(), &whole[8..]].concat();
        let end = 12 + 28 + 42;
        for (bytes, expected) in [
            (whole.clone(), Some(end)),
            (whole[..whole.len() - 9].to_vec(), None),
            // Some recorders count the head of a part, or write something else after it.
            (sized(whole.len() as u32), Some(end)),
            ([&whole[..], &[7; 40]].concat(), Some(end)),
            ([&whole[..], &part(&[packets(8)])].concat(), Some(whole.len() as u64 + 12 + 20)),
            ([&whole[..], &part(&[packets(8)])[..25]].concat(), None),
            (sized(0), None),
            (sized(u32::MAX), None),
            (part(&[chunk(b"JUNK", &[7; 20])]), None),
            (b"RIF".to_vec(), None),
            (part(&vec![chunk(b"JUNK", b""); MOST_CHUNKS]), None),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(end_of_packets(&path).unwrap(), expected, "{:?} of {}", bytes.get(4..8), bytes.len());
        }
    }
}
