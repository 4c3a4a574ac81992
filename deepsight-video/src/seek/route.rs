use std::collections::VecDeque;

use super::{
    at_a_time,
    entry::{Entries, Entry},
    excerpt::{self, Excerpt},
    stretch::Stretch,
};
use crate::{
    Video,
    sampling::{Pick, Plan},
    scan::{Scan, Shown},
};

/// The stretches of a video that contain all wanted frames, in order of presentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) stretches: Vec<Stretch>,
    /// The packets of these stretches, if ffmpeg reads them instead of seeking in the file.
    pub(crate) excerpt: Option<Excerpt>,
    /// The route to use if this one fails; `None` for the sequential pass.
    pub(crate) other: Option<Box<Route>>,
}

/// Most ranges in the filters of one process. Each takes about 60 bytes, and Linux allows 128 KiB for one argument.
const MAX_RANGES: usize = 1000;

/// Most times that one process opens the file.
const MAX_INPUTS: usize = 8;

/// Bytes that the decoders of one process may need together.
const DECODER_BYTES: u64 = 512 << 20;

/// Bytes that a decoder may need for a pixel: 20 pictures of 10 bits, with half a pixel of chroma for each of luma.
const BYTES_A_PIXEL: u64 = 60;

/// Most key frames before a wanted frame that are checked for one from which decoding can begin.
const MAX_TRIES: usize = 8;

/// Most frames that a packet of a transport stream waits after its decoding until it is shown.
pub(crate) const MOST_HELD_BACK: i64 = 16;

/// Times of frames may differ by this much in microseconds, because ffprobe and ffmpeg round them in different ways.
pub(crate) const ROUNDING: i64 = 1;

impl Route {
    /// Returns a route to at most `cap` frames of a plan that costs clearly less than a sequential pass, if there is
    /// one.
    pub(crate) fn choose(video: &Video, plan: &Plan, cap: u64) -> Option<Self> {
        let wanted = wanted(video, plan, cap)?;
        let cost = Cost::of(video);
        let sequential = cost.sequential(*wanted.last()?);
        let affordable = |of: fn(&Cost, &Self) -> f64, cost: &Cost| {
            // Reading the file takes time, so it is read only if a route may cost less.
            let hoped = Self::over(video, &wanted, |_| Entry::Clean, cost)?;
            if of(cost, &hoped) > WORTH * sequential {
                return None;
            }
            Self::find(video, &wanted, cost).filter(|route| of(cost, route) <= WORTH * sequential)
        };
        let seeks = allows_seeks(video).then(|| affordable(Cost::seeks, &cost)).flatten();
        let excerpt = || affordable(Cost::excerpt, &cost.of_packets())?.with_excerpt(video);
        match excerpt::may_exist(video).then(excerpt).flatten() {
            Some(excerpt) => Some(Self { other: seeks.map(Box::new), ..excerpt }),
            None => seeks,
        }
    }

    /// Adds the excerpt with the packets of this route, or returns `None` if there can be none.
    pub(crate) fn with_excerpt(mut self, video: &Video) -> Option<Self> {
        let ranges: usize = self.stretches.iter().map(|stretch| stretch.wanted.len()).sum();
        self.excerpt = Some(Excerpt::of(video, &self.stretches).filter(|_| ranges <= MAX_RANGES)?);
        Some(self)
    }

    /// Returns the route to the wanted frames.
    pub(crate) fn find(video: &Video, wanted: &[usize], cost: &Cost) -> Option<Self> {
        let mut entries = Entries::new(&video.path, &video.header, &video.scan.key_packets);
        Self::over(video, wanted, |key| entries.at(key), cost)
    }

    fn over(video: &Video, wanted: &[usize], mut entry: impl FnMut(usize) -> Entry, cost: &Cost) -> Option<Self> {
        let (keys, reach) = (keys(&video.scan), video.picture.reach());
        let mut stretches: Vec<Stretch> = Vec::new();
        let (mut key, mut start, mut open) = (usize::MAX, 0, false);
        for &frame in wanted {
            let before = keys.partition_point(|&key| key <= frame.saturating_sub(reach));
            if before != key {
                key = before;
                (start, open) = start_for(before, &keys, &mut entry)?;
                // A seek in a transport stream leads to any frame.
                open |= video.header.track.is_some();
            }
            let go_on = |stretch: &&mut Stretch| {
                let on = frame - stretch.last();
                stretch.wanted.len() < MAX_RANGES
                    && (start <= stretch.end()
                        || on as f64 * cost.frame <= (frame - start) as f64 * cost.frame + cost.seek)
            };
            match stretches.last_mut().filter(go_on) {
                Some(stretch) => stretch.push(frame),
                None => stretches.push(Stretch { first: start, open, wanted: vec![(frame, frame)], reach }),
            }
        }
        Some(Self { stretches, excerpt: None, other: None })
    }

    /// Returns the stretches of each process.
    pub(crate) fn batches(self, video: &Video) -> VecDeque<Vec<Stretch>> {
        let most = inputs(video);
        let mut batches: VecDeque<Vec<Stretch>> = VecDeque::new();
        let mut ranges = 0;
        for stretch in self.stretches {
            ranges += stretch.wanted.len();
            match batches.back_mut() {
                Some(batch) if batch.len() < most && ranges <= MAX_RANGES => batch.push(stretch),
                _ => {
                    ranges = stretch.wanted.len();
                    batches.push_back(vec![stretch]);
                }
            }
        }
        batches
    }
}

/// Returns the number of times that one process may open a video.
fn inputs(video: &Video) -> usize {
    let bytes = u64::from(video.header.width) * u64::from(video.header.height) * BYTES_A_PIXEL;
    (DECODER_BYTES / bytes.max(1)).clamp(1, MAX_INPUTS as u64) as usize
}

/// Returns the numbers of the key frames among the frames.
pub(crate) fn keys(scan: &Scan) -> Vec<usize> {
    scan.shown.iter().enumerate().filter(|(_, frame)| frame.key).map(|(place, _)| place).collect()
}

/// Returns the frame from which decoding gives the frames after the last of the first `before` key frames, and whether
/// frames that are decoded after it and shown before it refer to others before it. 0 is the beginning of the file.
fn start_for(before: usize, keys: &[usize], entry: &mut impl FnMut(usize) -> Entry) -> Option<(usize, bool)> {
    let mut before = before;
    for _ in 0..MAX_TRIES {
        let Some(key) = before.checked_sub(1).filter(|&key| key > 0) else { return Some((0, false)) };
        match entry(key) {
            Entry::Clean => return Some((*keys.get(key)?, false)),
            Entry::Recovers if key == 1 => return Some((0, false)),
            Entry::Recovers => match entry(key - 1) {
                Entry::Unknown => before -= 1,
                earlier => return Some((*keys.get(key - 1)?, earlier == Entry::Recovers)),
            },
            Entry::Unknown => before -= 1,
        }
    }
    None
}

/// Returns the wanted frames, or `None` if decoding from key frames might not return the frames of a sequential pass.
pub(crate) fn wanted(video: &Video, plan: &Plan, cap: u64) -> Option<Vec<usize>> {
    if !is_regular(video) || !(allows_seeks(video) || excerpt::may_exist(video)) {
        return None;
    }
    let shown = &video.scan.shown;
    // Where the exact time decides, the time that ffmpeg has must lead to the same choice.
    let shifts: &[i64] = if plan.depends_on_times() { &[0, -ROUNDING, ROUNDING] } else { &[0] };
    let mut choices = shifts.iter().map(|shift| picked(plan, shown, *shift, cap));
    let wanted = choices.next()?;
    (!wanted.is_empty() && choices.all(|other| other == wanted)).then_some(wanted)
}

/// Returns the wanted frames if the times of all frames except the first are shifted by some microseconds.
fn picked(plan: &Plan, shown: &[Shown], shift: i64, cap: u64) -> Vec<usize> {
    let mut picker = plan.clone().picker();
    let shifted = |place| if place == 0 { -shift } else { shift };
    let wanted = shown.iter().enumerate().filter(|&(place, frame)| {
        picker.pick(place as u64, Some(frame.time.saturating_add(shifted(place)))) == Pick::Wanted
    });
    wanted.map(|(place, _)| place).take(usize::try_from(cap).unwrap_or(usize::MAX)).collect()
}

/// Returns whether ffmpeg can seek to the key frame before a time.
pub(crate) fn allows_seeks(video: &Video) -> bool {
    let container = video.header.container.split(',').next().unwrap_or_default();
    let is_known = match container {
        "avi" => !video.scan.uncertain,
        "mpegts" => video.header.track.is_some(),
        _ => CONTAINERS.contains(&container),
    };
    // Where there are several videos, a seek may lead to a key frame of another one.
    is_known && !video.header.reconfigured && video.info.video_streams == 1
}

/// Returns whether times identify frames, and each picture depends on its own stretch alone.
fn is_regular(video: &Video) -> bool {
    let Video { header, scan, picture, options, .. } = video;
    let shown = &scan.shown;
    let start_is_known = scan.hidden || shown.first().is_some_and(|frame| frame.key);
    let distinct = |pair: &[Shown]| pair[1].time.saturating_sub(pair[0].time) > 4 * ROUNDING;
    options.hwaccel.is_none()
        && Entries::exist_in(&header.codec)
        // ffmpeg gives no frame of MPEG-4 where the picture stays.
        && !(header.codec == "mpeg4" && scan.tiny)
        && picture.is_uniform()
        && !scan.jumps
        && start_is_known
        && shown.len() as u64 == scan.frames
        && scan.key_packets.len() == shown.iter().filter(|frame| frame.key).count()
        && shown.windows(2).all(distinct)
}

/// Containers in which a seek leads to the key frame before a time.
const CONTAINERS: [&str; 3] = ["mov", "matroska", "flv"];

/// Estimates of times in seconds, measured on one core of a server from 2020. Only their ratios matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Decoding of one frame.
    frame: f64,
    /// One more opening of the file, and a seek in it.
    pub(crate) seek: f64,
    /// Start of a process.
    process: f64,
    /// Frames that a sequential pass decodes at a time.
    threads: f64,
    /// Processes at a time.
    processes: f64,
    /// Inputs of a process.
    inputs: f64,
}

/// Making of an excerpt, in seconds.
const EXCERPT: f64 = 0.03;

/// Seeks must cost less than this part of a sequential pass, because both are estimates.
const WORTH: f64 = 0.7;

impl Cost {
    pub(crate) fn of(video: &Video) -> Self {
        let pixels = f64::from(video.header.width) * f64::from(video.header.height);
        let frame = 20e-6 + 3e-9 * pixels;
        // The index of the file is read each time. Of a transport stream some seconds are read, and frames before the
        // key frame are decoded.
        let seek = match &video.header.track {
            None => 0.03 + 0.2e-6 * video.scan.frames as f64,
            Some(_) => 0.08 + MOST_HELD_BACK as f64 * frame,
        };
        Self {
            frame,
            seek,
            process: 0.08,
            threads: f64::from(video.options.limits.threads().saturating_sub(1).max(1)),
            processes: at_a_time(&video.options.limits) as f64,
            inputs: inputs(video) as f64,
        }
    }

    /// Returns the costs if ffmpeg reads the packets of all stretches one after another.
    fn of_packets(self) -> Self {
        Self { seek: 1e-4, ..self }
    }

    /// Returns the cost of an excerpt. The tables of the file are read once more for it.
    fn excerpt(&self, route: &Route) -> f64 {
        let frames: usize = route.stretches.iter().map(Stretch::frames).sum();
        let seeks = route.stretches.len() as f64 * self.seek;
        self.process + EXCERPT + seeks + frames as f64 * self.frame / self.threads
    }

    /// Returns the cost of a sequential pass up to a frame.
    fn sequential(&self, last: usize) -> f64 {
        self.process + self.seek + (last + 1) as f64 * self.frame / self.threads
    }

    fn seeks(&self, route: &Route) -> f64 {
        let seeks = route.stretches.len() as f64;
        let frames: usize = route.stretches.iter().map(Stretch::frames).sum();
        let runs = (seeks / self.inputs).ceil();
        (runs * self.process + seeks * self.seek + frames as f64 * self.frame) / self.processes.min(runs).max(1.0)
    }
}
