//! The sample tables in the index of an MP4 or QuickTime file (ISO/IEC 14496-12, section 8.6): time, size and place of
//! every packet. ffprobe takes seconds to print the packets of an hour; these are read in milliseconds. They are used
//! only where all packets of a track are shown, one after another, so that ffprobe would print the same.

use crate::{
    boxes::{at_most_one, child, children, long, only, word},
    scan::{Packets, Stamp},
    units::Place,
};

/// One packet of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Tick at which it is decoded.
    pub(crate) decoded: i64,
    /// Tick at which it is shown, no earlier.
    pub(crate) shown: i64,
    /// Ticks up to the decoding of the next one.
    pub(crate) length: i64,
    /// Whether decoding can begin here.
    pub(crate) key: bool,
    pub(crate) place: Place,
}

/// The tables of one track.
#[derive(Debug)]
pub(crate) struct Track<'a> {
    /// Whether it is video, according to the file.
    pub(crate) video: bool,
    /// Ticks of the track's clock in a second.
    pub(crate) scale: u32,
    /// Tick that is shown first.
    pub(crate) start: i64,
    /// Tick after the last one that is shown, if there is an edit list.
    end: Option<i64>,
    /// The box `stbl`.
    tables: &'a [u8],
}

impl<'a> Track<'a> {
    /// Returns the tracks of an index (`moov`) in their order, or `None` if one of them has several edits, or a box
    /// that should be there once is there twice, so that ffmpeg may use the other one.
    pub(crate) fn all(index: &'a [u8]) -> Option<Vec<Self>> {
        let movie_scale = scale(only(index, b"mvhd")?)?;
        children(index, b"trak").map(|track| Self::read(track, movie_scale)).collect()
    }

    fn read(track: &'a [u8], movie_scale: u32) -> Option<Self> {
        only(track, b"tkhd")?;
        let media = only(track, b"mdia")?;
        let video = only(media, b"hdlr")?.get(8..12)? == b"vide";
        let scale = scale(only(media, b"mdhd")?)?;
        let tables = only(only(media, b"minf")?, b"stbl")?;
        for once in [b"stsd", b"stts", b"stsc", b"stsz"] {
            only(tables, once)?;
        }
        for once in [b"ctts", b"stss"] {
            at_most_one(tables, once)?;
        }
        let places: usize = [b"stco", b"co64"].map(|kind| children(tables, kind).count()).iter().sum();
        if places != 1 || child(tables, b"stz2").is_some() {
            return None;
        }
        let edits = match at_most_one(track, b"edts")? {
            Some(edits) => at_most_one(edits, b"elst")?,
            None => None,
        };
        let (start, end) = match edits {
            None => (0, None),
            Some(edits) => {
                let (start, length) = only_edit(edits)?;
                let length = u128::from(length) * u128::from(scale) / u128::from(movie_scale);
                (start, Some(start.checked_add(i64::try_from(length).ok()?)?))
            }
        };
        Some(Self { video, scale, start, end, tables })
    }

    /// Passes the packets of this track to `packets` as those of stream number `stream`; of a track other than video,
    /// only its end. Returns whether there are not too many, or `None` if the tables do not describe packets that are
    /// all shown and lie within the `bytes` bytes of the file.
    pub(crate) fn pass(&self, stream: u32, bytes: u64, packets: &mut Packets) -> Option<bool> {
        if !self.video {
            let length = Runs::new(child(self.tables, b"stts")?)?.total()?;
            packets.ends_at(Some(self.microseconds(length.min(self.end.unwrap_or(length)))));
            return Some(true);
        }
        self.each(bytes, |sample| {
            let stamp = Stamp {
                presentation: Some(self.microseconds(sample.shown)),
                decoding: Some(self.microseconds(sample.decoded)),
                length: self.microseconds(self.start.saturating_add(sample.length)),
                key: sample.key,
                skips: false,
                place: Some(sample.place),
            };
            packets.push_frame(stream, stamp)
        })
    }

    /// Passes the samples of this track of video to `take`, in the order in which they are decoded, until that returns
    /// `false`. Returns whether it never did, or `None` if the tables do not describe samples that are all shown and
    /// lie within the `bytes` bytes of the file.
    pub(crate) fn each(&self, bytes: u64, mut take: impl FnMut(Sample) -> bool) -> Option<bool> {
        let mut lengths = Runs::new(child(self.tables, b"stts")?)?;
        // Samples of several kinds, and key frames that other tables mark.
        let grouped = |kind| children(self.tables, b"sgpd").any(|group| group.get(4..8) == Some(kind));
        let entries = child(self.tables, b"stsd").and_then(|entries| word(entries, 4));
        if entries != Some(1) || child(self.tables, b"stps").is_some() || grouped(b"rap ") || grouped(b"sync") {
            return None;
        }
        let mut places = Places::new(self.tables)?;
        let mut delays = match child(self.tables, b"ctts") {
            Some(table) => Some(Runs::new(table)?),
            None => None,
        };
        // ffmpeg lets no packet be shown before it is decoded.
        let earlier = delays.as_ref().map_or(0, |delays| i64::from(delays.shortest().min(0)));
        let keys = child(self.tables, b"stss");
        let mut next_key = 0;
        let (mut decoded, mut first) = (0i64, i64::MAX);
        for n in 1..=places.count {
            let place = places.next()?;
            let length = i64::from(lengths.next().filter(|&ticks| ticks > 0 && ticks <= i32::MAX as u32)?);
            let delay = delays.as_mut().map_or(Some(0), Runs::next)? as i32;
            let shown = decoded.checked_add(i64::from(delay))?;
            if shown < self.start || self.end.is_some_and(|end| shown >= end) || place.end()? > bytes {
                return None;
            }
            first = first.min(shown);
            let key = keys.is_none_or(|keys| word(keys, 8 + 4 * next_key) == Some(n));
            next_key += usize::from(key);
            if !take(Sample { decoded: decoded.checked_add(earlier)?, shown, length, key, place }) {
                return Some(false);
            }
            decoded = decoded.checked_add(length)?;
        }
        // Without a key frame there is nothing to decode. An edit that begins before its first frame delays it.
        let delayed = self.end.is_some() && first != self.start;
        (next_key > 0 && !delayed && lengths.next().is_none()).then_some(true)
    }

    /// Returns the time in microseconds from the tick that is shown first.
    pub(crate) fn microseconds(&self, tick: i64) -> i64 {
        (tick.saturating_sub(self.start) as f64 / f64::from(self.scale) * 1e6).round() as i64
    }
}

/// Returns the number of ticks in a second from a box that has it after version, flags and two dates.
fn scale(header: &[u8]) -> Option<u32> {
    word(header, if header.first() == Some(&1) { 20 } else { 12 }).filter(|&scale| scale > 0)
}

/// Returns start and length of the only edit of a list, or `None` if there are several, or it is empty or changes the
/// speed.
fn only_edit(edits: &[u8]) -> Option<(i64, u64)> {
    let (length, start, speed) = match edits.first()? {
        0 => (word(edits, 8)?.into(), (word(edits, 12)? as i32).into(), word(edits, 16)?),
        _ => (long(edits, 8)?, long(edits, 16)? as i64, word(edits, 24)?),
    };
    (word(edits, 4) == Some(1) && speed == 1 << 16 && length > 0 && start >= 0).then_some((start, length))
}

/// A table of runs of samples that have the same value.
struct Runs<'a> {
    runs: std::slice::ChunksExact<'a, u8>,
    value: u32,
    left: u32,
}

impl<'a> Runs<'a> {
    fn new(table: &'a [u8]) -> Option<Self> {
        let bytes = (word(table, 4)? as usize).checked_mul(8)?;
        let runs = table.get(8..8usize.checked_add(bytes)?)?.chunks_exact(8);
        Some(Self { runs, value: 0, left: 0 })
    }

    /// Returns the value of the next sample.
    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            let run = self.runs.next()?;
            (self.left, self.value) = (word(run, 0)?, word(run, 4)?);
        }
        self.left -= 1;
        Some(self.value)
    }

    /// Returns the smallest value of a sample. Version 0 of the table of delays has no sign, but files have negative
    /// numbers in it all the same.
    fn shortest(&self) -> i32 {
        self.runs.clone().filter_map(|run| word(run, 4)).map(|value| value as i32).min().unwrap_or(0)
    }

    /// Returns the sum of the values of all samples.
    fn total(self) -> Option<i64> {
        let runs = self.runs.map(|run| Some(i64::from(word(run, 0)?) * i64::from(word(run, 4)?)));
        runs.reduce(|sum, run| sum?.checked_add(run?)).flatten()
    }
}

/// Where the samples of a track lie, in the order of the table.
struct Places<'a> {
    /// Number of samples.
    count: u32,
    sizes: &'a [u8],
    /// The offsets of chunks of samples, of 32 bits or 64.
    offsets: &'a [u8],
    wide: bool,
    /// How many samples the chunks have.
    runs: &'a [u8],
    sample: usize,
    chunk: u32,
    run: usize,
    left_in_chunk: u32,
    position: u64,
}

impl<'a> Places<'a> {
    fn new(tables: &'a [u8]) -> Option<Self> {
        let (offsets, wide) = match child(tables, b"stco") {
            Some(offsets) => (offsets, false),
            None => (child(tables, b"co64")?, true),
        };
        let (sizes, runs) = (child(tables, b"stsz")?, child(tables, b"stsc")?);
        let count = word(sizes, 8)?;
        let fresh =
            Self { count, sizes, offsets, wide, runs, sample: 0, chunk: 0, run: 0, left_in_chunk: 0, position: 0 };
        Some(fresh)
    }

    /// Returns the place of the next sample, or `None` if the tables do not say it.
    fn next(&mut self) -> Option<Place> {
        if self.left_in_chunk == 0 {
            let chunk = self.chunk as usize;
            let offset = if self.wide {
                long(self.offsets, 8 + 8 * chunk)
            } else {
                word(self.offsets, 8 + 4 * chunk).map(u64::from)
            };
            self.position = offset?;
            self.chunk += 1;
            // An entry holds from its first chunk on, up to that of the next entry.
            let next = word(self.runs, 8 + 12 * self.run);
            self.run += usize::from(next == Some(self.chunk));
            self.left_in_chunk = word(self.runs, 8 + 12 * self.run.checked_sub(1)? + 4)?;
        }
        let size = match word(self.sizes, 4)? {
            0 => word(self.sizes, 12 + 4 * self.sample)?,
            same => same,
        };
        self.sample += 1;
        self.left_in_chunk = self.left_in_chunk.checked_sub(1)?;
        let place = Place { position: self.position, size: size.into() };
        self.position = place.end()?;
        (size > 0).then_some(place)
    }
}
