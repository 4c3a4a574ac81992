//! The networks on a device, and the analysis of a clip with them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::backend::Backend;
use deepsight_core::{
    Analyzer, CLOSER_FRAMES, CancelToken, Classifier, Error, Frame, Job, Models, Report, Threads, report::Variation,
    with_causes,
};
use deepsight_device::{Device, backend_devices};
use deepsight_face::Mtcnn;
use deepsight_video::{Media, Sampling, VideoError, recompress_clip};

use super::{AnalyzeError, Args, Bars, cure};
use crate::clip::Clip;

/// The networks on one device. Clips that are analysed at the same time share the networks, and their faces are scored
/// in common batches.
#[derive(Debug)]
pub(super) struct Worker<B: Backend> {
    device: Device,
    analyzer: Analyzer<Mtcnn<B>, Arc<Models<Classifier<B>>>>,
}

/// Loads the networks onto each of the devices. `first` is the backend's handle of the first device.
///
/// # Errors
/// Returns an error if the devices are of different kinds, or if a network cannot be loaded or computed as the flags
/// ask.
pub(super) fn workers<B: Backend>(
    args: &Args,
    first: &B::Device,
    threads: &Threads,
) -> Result<Vec<Worker<B>>, AnalyzeError> {
    let places = backend_devices::<B>(first, &args.device).map_err(AnalyzeError::Input)?;
    let load = |(&device, place): (&Device, &B::Device)| -> Result<Worker<B>, AnalyzeError> {
        let detector = args.detector().init::<B>(place).map_err(|error| AnalyzeError::input(&error))?;
        let classifier = args.classifier::<B>(place).map_err(|error| AnalyzeError::input(&error))?;
        let analyzer =
            Analyzer::new(detector, Arc::new(classifier)).with_config(args.analyzer()).with_threads(threads.clone());
        Ok(Worker { device, analyzer })
    };
    threads.install(|| args.device.iter().zip(&places).map(load).collect())
}

impl<B: Backend> Worker<B> {
    /// Returns the analyzer.
    pub(super) fn analyzer(&self) -> &Analyzer<Mtcnn<B>, Arc<Models<Classifier<B>>>> {
        &self.analyzer
    }

    /// Returns the device.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Analyses a clip; `opened` is the result of opening it. With `--stability`, also analyses its variations.
    ///
    /// # Errors
    /// Returns [`AnalyzeError::Clip`] if the clip cannot be opened, decoded or analysed, [`AnalyzeError::Input`] if
    /// ffmpeg cannot be run, which concerns every clip, and [`AnalyzeError::Interrupted`] if the token is cancelled.
    pub(super) fn analyze(
        &self,
        args: &Args,
        path: &Path,
        clip: Result<Clip, VideoError>,
        cancel: &CancelToken,
        bars: &Bars,
    ) -> Result<Report, AnalyzeError> {
        let is_video = clip.as_ref().is_ok_and(|clip| clip.is_video);
        let (report, turns) = self.analyze_upright(args, path, clip, cancel, bars)?;
        if !args.stability {
            return Ok(report);
        }
        let started = Instant::now();
        let variations = Variation::ALL.into_iter();
        let variations =
            variations.filter(|variation| is_video || !matches!(variation, Variation::Recompressed { .. }));
        let vary = |variation| match self.vary(args, path, turns, variation, cancel) {
            Ok(report) => Ok((variation, Ok(report))),
            Err(AnalyzeError::Clip(message)) => Ok((variation, Err(message))),
            Err(failure) => Err(failure),
        };
        let varied = variations.map(vary).collect::<Result<Vec<_>, AnalyzeError>>()?;
        Ok(report.with_stability(varied, started.elapsed().as_secs_f64()))
    }

    /// Analyses a variation of a clip, turned clockwise by `turns` times 90 degrees.
    fn vary(
        &self,
        args: &Args,
        path: &Path,
        turns: u32,
        variation: Variation,
        cancel: &CancelToken,
    ) -> Result<Report, AnalyzeError> {
        let (upright, none) = (args.decoding().with_turn(turns), Bars::default());
        let Variation::Recompressed { crf } = variation else {
            let clip = Clip::open(path, &upright, args.look());
            return self.analyze_as_it_is(args, path, clip, Some(variation), cancel, &none);
        };
        let file = tempfile::Builder::new().suffix(".mp4").tempfile();
        let file = file.map_err(|error| AnalyzeError::Clip(format!("cannot create a temporary file: {error}")))?;
        recompress_clip(path, file.path(), crf, &upright, &|| cancel.is_cancelled()).map_err(|error| match error {
            _ if cancel.is_cancelled() => AnalyzeError::Interrupted,
            error => AnalyzeError::Clip(with_causes(&error)),
        })?;
        // The recompressed file has one stream.
        let mut decoding = args.decoding();
        decoding.stream = None;
        let clip = Clip::open(file.path(), &decoding, args.look());
        self.analyze_as_it_is(args, path, clip, Some(variation), cancel, &none)
    }

    /// Analyses a clip. If it finds nobody, turns the picture in steps of 90 degrees, and analyses it again if there
    /// are faces then. Also returns the number of steps.
    fn analyze_upright(
        &self,
        args: &Args,
        path: &Path,
        clip: Result<Clip, VideoError>,
        cancel: &CancelToken,
        bars: &Bars,
    ) -> Result<(Report, u32), AnalyzeError> {
        let report = self.analyze_as_it_is(args, path, clip, None, cancel, bars)?;
        if !report.found_nobody() {
            return Ok((report, 0));
        }
        let turned = |turns| args.decoding().with_turn(turns);
        let turn = self.analyzer.find_turn(|turns, count| {
            let media = Media::open_with(path, &turned(turns))?;
            Ok(media.frames(Sampling::evenly(count))?.with_cancel(cancel).boxed())
        });
        match turn {
            _ if cancel.is_cancelled() => Err(AnalyzeError::Interrupted),
            None => Ok((report, 0)),
            Some(turns) => {
                let clip = Clip::open(path, &turned(turns), args.look());
                let report = self.analyze_as_it_is(args, path, clip, None, cancel, bars)?;
                Ok((report.of_turned_picture(turns), turns))
            }
        }
    }

    fn analyze_as_it_is(
        &self,
        args: &Args,
        path: &Path,
        clip: Result<Clip, VideoError>,
        variation: Option<Variation>,
        cancel: &CancelToken,
        bars: &Bars,
    ) -> Result<Report, AnalyzeError> {
        let varied = move |frame: Frame| match variation {
            Some(variation) => variation.apply(frame),
            None => frame,
        };
        let Clip { frames, input, is_still, sha256, closer, .. } = clip.map_err(|error| failure(&error))?;
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
                let frames = video.frames(Sampling::times(times))?.with_cancel(cancel).boxed();
                Ok(Box::new(frames.map(move |frame| frame.map(varied))))
            }),
            None => job,
        };
        // Keeps the advice, because the analysis keeps only the text of a decoder's error.
        let cure = Mutex::new(None);
        let frames = frames.inspect(|frame| {
            if let Err(error) = frame {
                *cure.lock().unwrap_or_else(PoisonError::into_inner) = cure::of(error);
            }
        });
        let frames = frames.map(|frame| frame.map(varied));
        let config = self.analyzer.config().clone();
        // Of a variation, only the scores are kept, so it needs no evidence.
        let config = if variation.is_some() { config.with_evidence(0) } else { config };
        let config = if is_still { config.for_still_picture() } else { config };
        // The clone shares the networks and the queue of faces.
        let report = self.analyzer.clone().with_config(config).analyze_job(frames, job);
        let report = report.map(|report| if is_still { report.of_still_picture() } else { report });
        bars.remove(&bar);
        match report {
            Ok(report) => {
                let sha256 = sha256.wait().map_err(|error| failure(&error))?;
                Ok(args.note_in(report.with_sha256(sha256), self.device, self.analyzer.threads()))
            }
            Err(Error::Cancelled) => Err(AnalyzeError::Interrupted),
            Err(error) => {
                let cure = cure.into_inner().unwrap_or_else(PoisonError::into_inner);
                let message = format!("{}: {}", path.display(), with_causes(&error));
                Err(AnalyzeError::Clip(cure::add(message, cure)))
            }
        }
    }
}

/// Returns the failure for a video that cannot be decoded.
pub(super) fn failure(error: &VideoError) -> AnalyzeError {
    let message = cure::add(with_causes(error), cure::of(error));
    match error {
        VideoError::FfmpegMissing { .. } | VideoError::Spawn { .. } => AnalyzeError::Input(message),
        _ => AnalyzeError::Clip(message),
    }
}
