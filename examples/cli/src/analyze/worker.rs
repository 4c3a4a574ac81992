//! Networks on a device, and the way of a clip through them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::backend::Backend;
use deepsight_core::{
    Analyzer, CLOSER_FRAMES, CancelToken, Classifier, Error, Job, Models, Report, Threads, with_causes,
};
use deepsight_device::{Device, backend_devices};
use deepsight_face::Mtcnn;
use deepsight_video::{Media, Sampling, VideoError};

use super::{Args, Bars, Failure, cure};
use crate::clip::Clip;

/// The networks on one device. Clips that it analyses at the same time share them, and their faces are scored together.
#[derive(Debug)]
pub(super) struct Worker<B: Backend> {
    device: Device,
    analyzer: Analyzer<Mtcnn<B>, Arc<Models<Classifier<B>>>>,
}

/// Loads the networks onto each of the devices, of which `first` is the backend's own name for the first.
///
/// # Errors
/// When the devices are of different kinds, or a network cannot be loaded or computed as the flags ask.
pub(super) fn workers<B: Backend>(
    args: &Args,
    first: &B::Device,
    threads: &Threads,
) -> Result<Vec<Worker<B>>, Failure> {
    let places = backend_devices::<B>(first, &args.device).map_err(Failure::Input)?;
    let load = |(&device, place): (&Device, &B::Device)| -> Result<Worker<B>, Failure> {
        let detector = args.detector().init::<B>(place).map_err(|error| Failure::input(&error))?;
        let classifier = args.classifier::<B>(place).map_err(|error| Failure::input(&error))?;
        let analyzer =
            Analyzer::new(detector, Arc::new(classifier)).with_config(args.analyzer()).with_threads(threads.clone());
        Ok(Worker { device, analyzer })
    };
    threads.install(|| args.device.iter().zip(&places).map(load).collect())
}

impl<B: Backend> Worker<B> {
    /// The networks and how they are used.
    pub(super) fn analyzer(&self) -> &Analyzer<Mtcnn<B>, Arc<Models<Classifier<B>>>> {
        &self.analyzer
    }

    /// The device.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Analyses a clip that was opened, or could not be. If nobody is found in it, turns the picture by quarters, and
    /// analyses it anew if there are faces then.
    ///
    /// # Errors
    /// [`Failure::Clip`] when it cannot be opened, decoded or analysed, [`Failure::Input`] when ffmpeg cannot be run
    /// and no clip could be, [`Failure::Interrupted`] when the token is cancelled.
    pub(super) fn analyze(
        &self,
        args: &Args,
        path: &Path,
        clip: Result<Clip, VideoError>,
        cancel: &CancelToken,
        bars: &Bars,
    ) -> Result<Report, Failure> {
        let report = self.analyze_as_it_is(args, path, clip, cancel, bars)?;
        if !report.found_nobody() {
            return Ok(report);
        }
        let turned = |turns| args.decoding().with_turn(turns);
        let turn = self.analyzer.find_turn(|turns, count| {
            let media = Media::open_with(path, &turned(turns))?;
            Ok(media.frames(Sampling::evenly(count))?.with_cancel(cancel).boxed())
        });
        match turn {
            _ if cancel.is_cancelled() => Err(Failure::Interrupted),
            None => Ok(report),
            Some(turns) => {
                let clip = Clip::open(path, &turned(turns), args.look());
                Ok(self.analyze_as_it_is(args, path, clip, cancel, bars)?.of_turned_picture(turns))
            }
        }
    }

    fn analyze_as_it_is(
        &self,
        args: &Args,
        path: &Path,
        clip: Result<Clip, VideoError>,
        cancel: &CancelToken,
        bars: &Bars,
    ) -> Result<Report, Failure> {
        let Clip { frames, input, is_still, sha256, closer } = clip.map_err(|error| failure(&error))?;
        let frames = frames.with_cancel(cancel);
        let expected = frames.expected_frames();
        let bar = bars.clip(path, expected);
        let job = Job::new().with_input(input).with_expected(expected).with_cancel(cancel.clone());
        let job = job.with_progress(|progress| {
            bar.set_length(progress.expected.unwrap_or(expected));
            bar.set_position(progress.frames);
            bar.set_message(format!("{} faces", progress.faces));
        });
        let job = match closer {
            Some(video) => job.with_closer_look(CLOSER_FRAMES, move |times| {
                Ok(video.frames(Sampling::times(times))?.with_cancel(cancel).boxed())
            }),
            None => job,
        };
        // The analysis keeps only the text of a decoder's error.
        let cure = Mutex::new(None);
        let frames = frames.inspect(|frame| {
            if let Err(error) = frame {
                *cure.lock().unwrap_or_else(PoisonError::into_inner) = cure::of(error);
            }
        });
        let report = match is_still {
            // The clone shares the networks and the queue of faces.
            true => {
                let config = self.analyzer.config().clone().for_still_picture();
                let analyzed = self.analyzer.clone().with_config(config).analyze_job(frames, job);
                analyzed.map(Report::of_still_picture)
            }
            false => self.analyzer.analyze_job(frames, job),
        };
        bars.remove(&bar);
        match report {
            Ok(report) => {
                let sha256 = sha256.wait().map_err(|error| failure(&error))?;
                Ok(args.note_in(report.with_sha256(sha256), self.device, self.analyzer.threads()))
            }
            Err(Error::Cancelled) => Err(Failure::Interrupted),
            Err(error) => {
                let cure = cure.into_inner().unwrap_or_else(PoisonError::into_inner);
                let message = format!("{}: {}", path.display(), with_causes(&error));
                Err(Failure::Clip(cure::add(message, cure)))
            }
        }
    }
}

/// Returns the failure for a video that cannot be decoded.
pub(super) fn failure(error: &VideoError) -> Failure {
    let message = cure::add(with_causes(error), cure::of(error));
    match error {
        VideoError::FfmpegMissing { .. } | VideoError::Spawn { .. } => Failure::Input(message),
        _ => Failure::Clip(message),
    }
}
