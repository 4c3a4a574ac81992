//! Decoding of single frames of a long video from the key frames before them, instead of all frames from its beginning.
//! The frames are those of the sequential pass, with the same pixels, indices and times. If that is not possible, or
//! fails during decoding, the caller uses the sequential pass.

mod entry;
mod excerpt;
mod route;
mod run;
mod stretch;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use deepsight_core::Frame;

pub(crate) use route::Route;
use run::Run;
use stretch::Stretch;

use crate::{DecodeLimits, Video, VideoError, process::Processes};

/// The next result of a route.
#[derive(Debug)]
pub(crate) enum Step {
    Frame(Frame),
    End,
    /// The next frame is not known to be that of the sequential pass.
    Failed,
}

/// The frames of a [`Route`], in order of presentation. Some ffmpeg processes decode ahead of the caller.
#[derive(Debug)]
pub(crate) struct Seeks {
    batches: VecDeque<Vec<Stretch>>,
    running: VecDeque<Run>,
    /// Number of processes at a time.
    processes: usize,
    /// Time for which all processes together may still be waited for.
    patience: Duration,
}

impl Seeks {
    /// Starts the first ffmpeg as one of `processes`.
    pub(crate) fn start(video: &Video, mut route: Route, processes: &Processes) -> Result<Self, VideoError> {
        let limits = &video.options.limits;
        let (batches, running, patience) = (VecDeque::new(), VecDeque::new(), limits.max_wait);
        let mut seeks = Self { batches, running, processes: at_a_time(limits), patience };
        match route.excerpt.take() {
            Some(excerpt) => seeks.running.push_back(Run::start_on(video, excerpt, processes)?),
            None => seeks.batches = route.batches(video),
        }
        seeks.run_ahead(video, processes)?;
        Ok(seeks)
    }

    /// Returns the next frame. No frame follows the end, a failure or an error.
    pub(crate) fn next(&mut self, video: &Video, processes: &Processes) -> Result<Step, VideoError> {
        loop {
            self.run_ahead(video, processes)?;
            let Some(run) = self.running.front_mut() else { return Ok(Step::End) };
            let step = run.next(video, &mut self.patience)?;
            match step {
                Step::Frame(_) => return Ok(step),
                Step::End => drop(self.running.pop_front()),
                Step::Failed => {
                    self.running.clear();
                    self.batches.clear();
                    return Ok(step);
                }
            }
        }
    }

    fn run_ahead(&mut self, video: &Video, processes: &Processes) -> Result<(), VideoError> {
        while self.running.len() < self.processes
            && let Some(batch) = self.batches.pop_front()
        {
            self.running.push_back(Run::start(video, batch, processes)?);
        }
        Ok(())
    }
}

/// Returns the route to the frames of a sampling that is chosen if seeks cost nothing.
#[cfg(any(test, fuzzing))]
pub(crate) fn free_route(video: &Video, sampling: &crate::Sampling) -> Option<Route> {
    let plan = crate::sampling::Plan::new(sampling, &video.timeline()).ok()?;
    let wanted = route::wanted(video, &plan, plan.stops_after(sampling.cap()))?;
    let mut cost = route::Cost::of(video);
    cost.seek = 0.0;
    Route::find(video, &wanted, &cost)
}

/// Returns the number of processes that run at a time. Each of them keeps one core busy.
fn at_a_time(limits: &DecodeLimits) -> usize {
    limits.threads().div_ceil(2).min(4) as usize
}
