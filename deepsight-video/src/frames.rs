use deepsight_core::{CancelToken, CloserFrames, Frame, cancel::OnCancel};

use crate::{
    Sampling, Video, VideoError,
    decode::Decode,
    process::Processes,
    sampling::Plan,
    seek::{Route, Seeks, Step},
};

/// The sampled frames of a video, in order of presentation.
///
/// One ffmpeg process decodes the video from its beginning to the last frame that is needed, a few frames ahead of the
/// caller. If it is estimated to take less time, ffmpeg gets only the packets from the key frames before the needed
/// frames, or up to four processes at a time seek to these key frames. The frames are the same. Dropping the iterator
/// ends the processes. No item follows an error. A file that is cut short or damaged gives the frames it has, and then
/// [`VideoError::Truncated`] or [`VideoError::FrameCount`]. Damage to parts that are not decoded is not noticed.
#[derive(Debug)]
#[must_use = "frames are decoded only while the iterator is read"]
pub struct Frames {
    reader: Option<Reader>,
    processes: Processes,
    cancelled: Option<OnCancel>,
    expected: u64,
    total: u64,
}

impl Frames {
    pub(crate) fn start(video: &Video, sampling: Sampling) -> Result<Self, VideoError> {
        let (info, cap) = (&video.info, sampling.cap());
        let plan = Plan::new(&sampling, &video.timeline())?;
        let expected = plan.expected(info.frame_count, info.duration).min(cap);
        let cap = plan.stops_after(cap);
        let route = Route::choose(video, &plan, cap);
        Self::start_on(video, plan, cap, route, expected)
    }

    pub(crate) fn start_on(
        video: &Video,
        plan: Plan,
        cap: u64,
        route: Option<Route>,
        expected: u64,
    ) -> Result<Self, VideoError> {
        let processes = Processes::default();
        let reader = Reader::start(video, plan, cap, route, &processes)?;
        Ok(Self { reader: Some(reader), processes, cancelled: None, expected, total: video.info.frame_count })
    }

    /// Returns the number of frames to expect, for a progress bar. It is exact for an undamaged file, except for
    /// [`Sampling::fps`], where it is an estimate.
    pub fn expected_frames(&self) -> u64 {
        self.expected
    }

    /// Ends the decoding when the token is cancelled, even while a thread waits for a frame. ffmpeg is killed, and the
    /// iterator ends with an error.
    pub fn with_cancel(mut self, cancel: &CancelToken) -> Self {
        self.cancelled = Some(self.processes.stop_on(cancel));
        self
    }

    /// Boxes the frames and their errors, as [`Job::with_closer_look`](deepsight_core::Job::with_closer_look) takes
    /// them.
    pub fn boxed(self) -> CloserFrames<'static> {
        Box::new(self.map(|frame| frame.map_err(Into::into)))
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.as_mut()?.next(&self.processes);
        if !matches!(next, Ok(Some(_))) {
            // Ends ffmpeg now, not when the caller drops the iterator.
            self.reader = None;
        }
        next.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = if self.reader.is_some() {
            usize::try_from(self.total).ok().and_then(|n| n.checked_add(1))
        } else {
            Some(0)
        };
        (0, most)
    }
}

impl std::iter::FusedIterator for Frames {}

/// The source of the frames: seeks to key frames, or the sequential pass, which also takes over from seeks that fail.
#[derive(Debug)]
struct Reader {
    video: Video,
    plan: Plan,
    cap: u64,
    pass: Pass,
    /// The route to use if the current one fails.
    other: Option<Box<Route>>,
    given: u64,
    /// Index of the last frame that was returned.
    last: Option<u64>,
}

#[derive(Debug)]
enum Pass {
    Seeks(Box<Seeks>),
    Sequential(Box<Decode>),
}

impl Reader {
    fn start(
        video: &Video,
        plan: Plan,
        cap: u64,
        mut route: Option<Route>,
        processes: &Processes,
    ) -> Result<Self, VideoError> {
        let other = route.as_mut().and_then(|route| route.other.take());
        let pass = match route {
            Some(route) => Pass::Seeks(Box::new(Seeks::start(video, route, processes)?)),
            None => Pass::Sequential(Box::new(Decode::start(video, plan.clone(), cap, processes)?)),
        };
        Ok(Self { video: video.clone(), plan, cap, pass, other, given: 0, last: None })
    }

    fn next(&mut self, processes: &Processes) -> Result<Option<Frame>, VideoError> {
        while let Pass::Seeks(seeks) = &mut self.pass {
            match seeks.next(&self.video, processes)? {
                Step::Frame(frame) if self.last.is_some_and(|last| frame.index <= last) => {}
                Step::Frame(frame) => return Ok(Some(self.give(frame))),
                Step::End => return self.end().map(|()| None),
                Step::Failed => {
                    self.pass = match self.other.take() {
                        Some(route) => Pass::Seeks(Box::new(Seeks::start(&self.video, *route, processes)?)),
                        None => {
                            let decode = Decode::start(&self.video, self.plan.clone(), self.cap, processes)?;
                            Pass::Sequential(Box::new(decode))
                        }
                    };
                }
            }
        }
        let Pass::Sequential(decode) = &mut self.pass else { return Ok(None) };
        let frame = loop {
            match decode.next()? {
                Some(frame) if self.last.is_some_and(|last| frame.index <= last) => {}
                next => break next,
            }
        };
        Ok(frame.map(|frame| self.give(frame)))
    }

    fn give(&mut self, frame: Frame) -> Frame {
        self.given += 1;
        self.last = Some(frame.index);
        frame
    }

    /// Returns the error that a sequential pass would find at the end of the file, as far as the headers tell it.
    fn end(&self) -> Result<(), VideoError> {
        let info = &self.video.info;
        match info.declared_frames {
            Some(want) if self.given < self.cap => {
                Err(VideoError::Truncated { path: self.video.path.clone(), got: info.frame_count, want })
            }
            _ => Ok(()),
        }
    }
}
