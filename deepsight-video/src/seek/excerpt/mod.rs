//! An excerpt of a file: the packets of some stretches, which one ffmpeg reads from a pipe. So ffmpeg does not open the
//! file and read its index for each stretch, which takes longer than decoding some frames, and containers that have no
//! index can be entered anywhere.

mod mp4;
mod ranges;

use std::{
    io::{self, Read},
    ops::Range,
    path::Path,
};

use super::stretch::Stretch;
use crate::{Video, pieces::Pieces, probe::Header, scan::Shown, transport::Track};

/// Returns whether there may be an excerpt of a video.
pub(crate) fn may_exist(video: &Video) -> bool {
    let header = &video.header;
    let is_mp4 = header.container.starts_with("mov") && !header.fragments;
    header.track.is_some()
        || (is_mp4 && ["h264", "hevc"].contains(&header.codec.as_str()))
        || (header.container == "flv" && header.codec == "h264" && !header.reconfigured)
}

/// The packets of some stretches of a file, which is read only when [`Excerpt::open`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    content: Content,
    frames: Vec<ExcerptFrame>,
}

/// A frame that a decoder gives of an excerpt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExcerptFrame {
    /// Its number in the video.
    pub(crate) place: usize,
    pub(crate) wanted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Mp4(Pieces),
    /// Ranges of bytes of an FLV file, and the number of the video among its streams.
    Flv(Pieces, u32),
    /// Ranges of bytes of a transport stream, from which the packets of a track are taken.
    Transport(Track, Vec<Range<u64>>),
}

impl Excerpt {
    /// Returns the excerpt with the packets of all stretches, or `None` if there can be none.
    pub(crate) fn of(video: &Video, stretches: &[Stretch]) -> Option<Self> {
        if !may_exist(video) {
            return None;
        }
        let Header { track, container, stream, .. } = &video.header;
        let (content, frames) = if container.starts_with("mov") {
            let (pieces, frames) = mp4::excerpt(video, stretches)?;
            (Content::Mp4(pieces), frames)
        } else {
            let (ranges, frames) = ranges::ranges(video, stretches)?;
            let content = match track {
                Some(track) => Content::Transport(track.clone(), ranges),
                None => Content::Flv(Pieces::copied(&ranges), *stream),
            };
            (content, frames)
        };
        Some(Self { content, frames })
    }

    /// Returns ffmpeg's name for the container of the excerpt.
    pub(crate) fn container(&self) -> &'static str {
        match self.content {
            Content::Mp4(_) => "mov",
            Content::Flv(..) => "flv",
            Content::Transport(..) => "mpegts",
        }
    }

    /// Returns the number of the video among the streams of the excerpt.
    pub(crate) fn stream(&self) -> u32 {
        match self.content {
            Content::Mp4(_) | Content::Transport(..) => 0,
            Content::Flv(_, stream) => stream,
        }
    }

    /// Returns the microseconds by which the times of the excerpt are later than those of its file.
    pub(crate) fn later(&self) -> i64 {
        match self.content {
            Content::Mp4(_) => mp4::LATER,
            Content::Flv(..) | Content::Transport(..) => 0,
        }
    }

    /// Returns whether the excerpt ends with the last packet of a file that may end within it: a recording that was
    /// stopped.
    pub(crate) fn may_be_cut(&self, video: &Video) -> bool {
        let Content::Transport(_, ranges) = &self.content else { return false };
        ranges.last().is_some_and(|range| range.end == video.bytes)
    }

    /// Opens the file. Returns the frames that a decoder must give, in order of presentation, and the bytes of the
    /// excerpt.
    pub(crate) fn open(self, path: &Path) -> io::Result<(Vec<ExcerptFrame>, Box<dyn Read + Send>)> {
        let bytes: Box<dyn Read + Send> = match self.content {
            Content::Mp4(pieces) | Content::Flv(pieces, _) => Box::new(pieces.open(path)?),
            Content::Transport(track, ranges) => Box::new(track.excerpt(path, ranges)?),
        };
        Ok((self.frames, bytes))
    }
}

/// The order of frames in a file. Frames are numbered in order of presentation, samples in order of decoding.
struct Order {
    sample_of: Vec<usize>,
    frame_of: Vec<usize>,
    /// Whether each frame is wanted.
    wanted: Vec<bool>,
    /// Whether each frame is wanted, or has to be decoded for one that is.
    needed: Vec<bool>,
}

impl Order {
    /// Orders samples by the times at which they are shown. Returns `None` unless these are the `shown` frames.
    fn new(times: Vec<i64>, shown: &[Shown], stretches: &[Stretch]) -> Option<Self> {
        let mut sample_of: Vec<usize> = (0..times.len()).collect();
        sample_of.sort_by_key(|&sample| times[sample]);
        if !sample_of.iter().map(|&sample| times[sample]).eq(shown.iter().map(|frame| frame.time)) {
            return None;
        }
        let mut frame_of = vec![0; times.len()];
        sample_of.iter().enumerate().for_each(|(frame, &sample)| frame_of[sample] = frame);
        let (mut wanted, mut needed) = (vec![false; times.len()], vec![false; times.len()]);
        for &(first, last) in stretches.iter().flat_map(|stretch| &stretch.wanted) {
            wanted.get_mut(first..=last)?.fill(true);
        }
        for (first, last) in stretches.iter().flat_map(|stretch| stretch.needed(times.len())) {
            needed.get_mut(first..=last)?.fill(true);
        }
        Some(Self { sample_of, frame_of, wanted, needed })
    }

    fn is_needed(&self, sample: usize) -> bool {
        self.needed[self.frame_of[sample]]
    }

    /// Returns the first and the last sample of each stretch, in order of decoding. Stretches that overlap in this
    /// order become one.
    fn parts(&self, stretches: &[Stretch]) -> Option<Vec<(usize, usize)>> {
        let sample_of = &self.sample_of;
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for stretch in stretches {
            let first = if stretch.first == 0 { 0 } else { *sample_of.get(stretch.first)? };
            let needed = stretch.needed(sample_of.len()).map(|(first, last)| sample_of.get(first..=last)?.iter().max());
            let last = *needed.collect::<Option<Vec<_>>>()?.into_iter().max()?;
            match parts.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => parts.push((first, last)),
            }
        }
        parts.iter().all(|&(first, last)| first <= last).then_some(parts)
    }
}

/// The frames that a decoder gives of parts of a file.
struct PartsOfFrames<'a> {
    order: &'a Order,
    frames: Vec<ExcerptFrame>,
}

impl<'a> PartsOfFrames<'a> {
    fn new(order: &'a Order) -> Self {
        Self { order, frames: Vec::new() }
    }

    /// Adds the samples of one part.
    fn push(&mut self, samples: impl Iterator<Item = usize>) {
        let from = self.frames.len();
        let frame = |sample: usize| {
            let place = self.order.frame_of[sample];
            ExcerptFrame { place, wanted: self.order.wanted[place] }
        };
        self.frames.extend(samples.map(frame));
        self.frames[from..].sort_unstable();
    }

    /// Returns the frames in order of presentation, or `None` if a needed frame is stored before its part begins, as
    /// where streams were joined.
    fn finish(self) -> Option<Vec<ExcerptFrame>> {
        let needed = &self.order.needed;
        let given = self.frames.iter().filter(|frame| needed[frame.place]).count();
        let all = needed.iter().filter(|&&needed| needed).count();
        (given == all && self.frames.is_sorted()).then_some(self.frames)
    }
}
