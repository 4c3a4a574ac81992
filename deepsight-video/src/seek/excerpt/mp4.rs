//! An excerpt of an MP4 file as a fragmented MP4 file (ISO/IEC 14496-12, section 8.8). Packets that no wanted frame
//! needs are left out.

use std::fs::File;

use super::{ExcerptFrame, Order, PartsOfFrames};
use crate::{
    Video,
    boxes::{Boxes, boxed, child, children, only, word},
    pieces::Pieces,
    sample_tables::{Sample, Track},
    seek::stretch::Stretch,
    units::{is_never_referred_to, resets_h264, resets_hevc, walk},
};

/// Microseconds by which the times of an excerpt are later than those of its file, so that none is below 0.
pub(super) const LATER: i64 = SECONDS_LATER * 1_000_000;

const SECONDS_LATER: i64 = 10;

/// Returns the excerpt with the packets of all stretches and its frames, or `None` if the file has no tables that
/// describe its packets, or decoding cannot go from one of these stretches to the next.
pub(super) fn excerpt(video: &Video, stretches: &[Stretch]) -> Option<(Pieces, Vec<ExcerptFrame>)> {
    let index = Boxes::read(&video.path).ok()??;
    let index = index.index.filter(|_| index.only_index)?;
    let stream = video.header.stream as usize;
    let tracks = Track::all(&index).filter(|tracks| tracks.len() == video.header.streams)?;
    let track = tracks.into_iter().nth(stream).filter(|track| track.video)?;
    let mut samples = Vec::new();
    // Takes no more samples than are known to be shown: a few bytes can describe billions.
    let are_all = track.each(video.bytes, |sample| {
        samples.push(sample);
        samples.len() <= video.scan.shown.len()
    });
    if are_all != Some(true) {
        return None;
    }
    let times = samples.iter().map(|sample| track.microseconds(sample.shown)).collect();
    let order = Order::new(times, &video.scan.shown, stretches)?;

    let head = ExcerptHead::of(children(&index, b"trak").nth(stream)?, child(&index, b"mvhd")?)?;
    let mut pieces = Pieces::of(head.bytes);
    let mut frames = PartsOfFrames::new(&order);
    let mut file = File::open(&video.path).ok()?;
    let h264 = video.header.codec == "h264";
    for (number, (first, last)) in order.parts(stretches)?.into_iter().enumerate() {
        let mut kept = Vec::new();
        for (sample, Sample { place, .. }) in samples.iter().enumerate().take(last + 1).skip(first) {
            let begins = sample == first && first > 0;
            let needed = order.is_needed(sample);
            if begins || (h264 && !needed) {
                let units = walk(&mut file, *place).ok()??;
                if begins && !(if h264 { resets_h264(&units) } else { resets_hevc(&units) }) {
                    return None;
                }
                if h264 && !needed && is_never_referred_to(&units) {
                    continue;
                }
            }
            kept.push(sample);
        }
        add_fragment(&mut pieces, number, &head.track, &track, kept.iter().map(|&sample| &samples[sample]))?;
        frames.push(kept.into_iter());
    }
    Some((pieces, frames.finish()?))
}

/// Adds a fragment with these samples of a track.
fn add_fragment<'a>(
    pieces: &mut Pieces,
    number: usize,
    track_id: &[u8],
    track: &Track,
    samples: impl Iterator<Item = &'a Sample> + Clone,
) -> Option<()> {
    let scale = i64::from(track.scale);
    let on_its_clock = |tick: i64| tick.checked_sub(track.start)?.checked_add(SECONDS_LATER.checked_mul(scale)?);
    let mut rows = Vec::new();
    let (mut count, mut bytes) = (0u32, 8u64);
    let mut following = samples.clone().skip(1);
    for sample in samples.clone() {
        let length = following.next().map_or(Some(sample.length), |next| next.decoded.checked_sub(sample.decoded))?;
        let delay = sample.shown.checked_sub(sample.decoded)?;
        let flags: u32 = if sample.key { 0x0200_0000 } else { 0x0101_0000 };
        let size = u32::try_from(sample.place.size).ok()?;
        for field in [u32::try_from(length).ok()?, size, flags, i32::try_from(delay).ok()?.cast_unsigned()] {
            rows.extend(field.to_be_bytes());
        }
        count += 1;
        bytes = bytes.checked_add(sample.place.size)?;
    }
    let begin = u64::try_from(on_its_clock(samples.clone().next()?.decoded)?).ok()?;
    // The second word of the runs is where the packets begin, counted from the start of the fragment.
    let fragment = |data: u32| {
        let runs = boxed(b"trun", &[&[1, 0, 0x0f, 1], &count.to_be_bytes(), &data.to_be_bytes(), &rows]);
        let start = boxed(b"tfdt", &[&[1, 0, 0, 0], &begin.to_be_bytes()]);
        // The places of its packets are counted from the fragment.
        let of_track = boxed(b"tfhd", &[&[0, 2, 0, 0], track_id]);
        let sequence = boxed(b"mfhd", &[&[0; 4], &(number as u32 + 1).to_be_bytes()]);
        boxed(b"moof", &[&sequence, &boxed(b"traf", &[&of_track, &start, &runs])])
    };
    let data = u32::try_from(fragment(0).len() + 8).ok()?;
    let mut head = fragment(data);
    head.extend(u32::try_from(bytes).ok()?.to_be_bytes());
    head.extend(b"mdat");
    pieces.add(head);
    samples.for_each(|sample| pieces.copy(sample.place));
    Some(())
}

/// The boxes at the beginning of an excerpt.
struct ExcerptHead {
    bytes: Vec<u8>,
    /// The number of its track, of four bytes.
    track: [u8; 4],
}

impl ExcerptHead {
    /// Describes a file that has one track, `track`, and consists of fragments.
    fn of(track: &[u8], movie: &[u8]) -> Option<Self> {
        let header = child(track, b"tkhd")?;
        let id = word(header, if header.first() == Some(&1) { 20 } else { 12 })?.to_be_bytes();
        let media = child(track, b"mdia")?;
        let information = child(media, b"minf")?;
        let samples = child(information, b"stbl")?;
        has_long_lengths(child(samples, b"stsd")?)?;
        let copy = |parent, kind| child(parent, kind).map(|content| boxed(kind, &[content]));
        let none = [0; 8];
        let tables = boxed(
            b"stbl",
            &[
                &copy(samples, b"stsd")?,
                &boxed(b"stts", &[&none]),
                &boxed(b"stsc", &[&none]),
                &boxed(b"stsz", &[&[0; 12]]),
                &boxed(b"stco", &[&none]),
            ],
        );
        let references = copy(information, b"dinf").unwrap_or_default();
        let information = boxed(b"minf", &[&boxed(b"vmhd", &[&[0, 0, 0, 1], &none]), &references, &tables]);
        let media = boxed(b"mdia", &[&copy(media, b"mdhd")?, &copy(media, b"hdlr")?, &information]);
        let track = boxed(b"trak", &[&boxed(b"tkhd", &[header]), &media]);
        let one = 1u32.to_be_bytes();
        let defaults = boxed(b"mvex", &[&boxed(b"trex", &[&[0; 4], &id, &one, &[0; 12]])]);
        let movie = boxed(b"moov", &[&boxed(b"mvhd", &[movie]), &track, &defaults]);
        let kind = boxed(b"ftyp", &[b"iso5", &[0; 4], b"iso5"]);
        Some(Self { bytes: [kind, movie].concat(), track: id })
    }
}

/// Checks that the lengths of the units of H.264 or HEVC have four bytes, by the only sample entry of a track.
fn has_long_lengths(entries: &[u8]) -> Option<()> {
    // After a version, flags, the number of entries, size and type of the first one, and the fields of every entry of
    // video.
    let boxes = entries.get(16 + 78..)?;
    let length = match (only(boxes, b"avcC"), only(boxes, b"hvcC")) {
        (Some(avc), None) => avc.get(4)?,
        (None, Some(hevc)) => hevc.get(21)?,
        _ => return None,
    };
    (length & 3 == 3).then_some(())
}
