//! The worker threads: each runs one analysis at a time, from its video to its report.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deepsight_core::report::{Record, Variation};
use deepsight_core::{CLOSER_FRAMES, CancelToken, Error, Frame, Input, Report, with_causes};
use deepsight_video::{Media, Sampling, VideoError, recompress_clip};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::{Admitted, End, Job, Live, QueueState, Scored, Sink};
use crate::domain::Moment;
use crate::domain::{Analysis, Counts, Failure, Finished, model_id, without_path};
use crate::engine::EngineError;
use crate::locked::locked;
use crate::look::Looker;
use crate::metrics::Ended;
use crate::store::{Picture, Seen, StoreError};
use crate::uploads::Upload;

/// Largest number of faces of one video that are kept as pictures. A long video with many people has more faces.
const MAX_PICTURES: usize = 2000;
/// JPEG quality of kept pictures, 1 to 100. At this quality the artifacts of compression do not show in the activation
/// map of a face.
const PICTURE_QUALITY: u8 = 92;

/// The reason why an analysis has no report.
enum StoppedAnalysis {
    Cancelled,
    Failed(Failure),
}

impl StoppedAnalysis {
    /// Describes why a video cannot be opened. That of a removed analysis may be deleted already.
    fn of_video(error: &VideoError, live: &Live) -> Self {
        if live.is_cancelled() { Self::Cancelled } else { Self::Failed(Failure::of_video(error)) }
    }
}

impl QueueState {
    /// Analyzes one video after the other until the queue is closed.
    pub(super) fn work(&self) {
        while let Some(job) = self.next() {
            self.metrics.running.inc();
            let (live, analysis) = (Arc::clone(&job.live), job.analysis.clone());
            let stored = matches!(job.sink, Sink::Store);
            let _span = tracing::info_span!("analysis", id = analysis.id).entered();
            // An analysis catches the panics of its parts. This catches those of the server's own code.
            if catch_unwind(AssertUnwindSafe(|| self.run(job))).is_err() {
                tracing::error!("a worker panicked");
                self.metrics.ended(Ended::failed);
                if stored {
                    self.keep_failure(&analysis, &Failure::internal());
                }
                live.end(End::Stored);
                self.leave(&live);
            }
            self.metrics.running.dec();
        }
    }

    fn run(&self, job: Job) {
        let Job { live, analysis, upload, video, sink, admission } = job;
        // The place in the queue is free from here on; the job counts against its client's limit until the end.
        let _client = admission.map(Admitted::begin);
        if live.is_cancelled() {
            if self.is_stopping() {
                return self.put_back(live, &analysis, sink);
            }
            self.metrics.ended(Ended::cancelled);
            return self.leave(&live);
        }
        let stored = matches!(sink, Sink::Store) && analysis.is_stored();
        // One from a shared queue is marked as running already.
        if stored && analysis.process.is_none() {
            match self.store.begin(&analysis.id, Moment::now()) {
                Ok(true) => {}
                Ok(false) => {
                    live.end(End::Removed);
                    return self.leave(&live);
                }
                Err(error) if error.is_full() => {
                    self.failed(&analysis, &Failure::of_store(&error, "the report"), None);
                    live.end(End::Stored);
                    return self.leave(&live);
                }
                Err(error) => tracing::error!(error = with_causes(&error), "cannot store the start of an analysis"),
            }
        }
        live.begin();
        let started = Instant::now();
        let outcome = self.analyze(&live, &analysis, upload.path(), video, stored);
        let took = started.elapsed();
        // If the report is not stored, the video is deleted here, before the client gets the answer.
        // In a shared queue, the store does that: another process may have taken the prediction.
        let upload = match &sink {
            Sink::Store => Some(upload),
            Sink::Reply(_) => {
                drop(upload.release());
                None
            }
        };
        if outcome.is_ok() {
            let mut usual = locked(&self.usual);
            *usual = 0.8 * *usual + 0.2 * took.as_secs_f64();
        }
        match (outcome, sink) {
            (Err(StoppedAnalysis::Cancelled), sink) if self.is_stopping() => {
                return self.put_back(live, &analysis, sink);
            }
            (Err(StoppedAnalysis::Cancelled), _) if live.is_put_back() => {
                tracing::info!("goes on in another process");
            }
            (Err(StoppedAnalysis::Cancelled), _) => {
                tracing::info!("cancelled");
                self.metrics.ended(Ended::cancelled);
                // The analysis was removed from the database, so its video is not needed any more.
                drop(upload.map(Upload::release));
            }
            (Ok((report, _)), Sink::Reply(reply)) => {
                self.told(&report, took);
                // Sending fails if the client has gone; it needs no answer then.
                drop(reply.send(Ok(report)));
            }
            (Ok((report, seen)), Sink::Store) => match self.keep_patiently(&live, &analysis, &report, &seen) {
                Ok(()) => self.told(&report, took),
                Err(error) => {
                    self.failed(&analysis, &Failure::of_store(&error, "the report"), None);
                }
            },
            (Err(StoppedAnalysis::Failed(failure)), Sink::Reply(reply)) => {
                self.failed(&analysis, &failure, Some(reply));
            }
            (Err(StoppedAnalysis::Failed(failure)), Sink::Store) => self.failed(&analysis, &failure, None),
        }
        live.end(End::Stored);
        self.leave(&live);
    }

    /// Analyzes a video, and its variations if the settings ask for them.
    fn analyze(
        &self,
        live: &Live,
        analysis: &Analysis,
        path: &Path,
        video: Option<Media>,
        stored: bool,
    ) -> Result<(Report, Seen), StoppedAnalysis> {
        let started = Instant::now();
        let (report, seen, turns) = self.look_upright(live, analysis, path, video, stored, started)?;
        if !analysis.settings.stability {
            return Ok((report, seen));
        }
        let varying = Instant::now();
        let mut varied = Vec::new();
        for variation in Variation::ALL {
            let of_variation = self.vary(live, analysis, path, turns, variation, started)?;
            varied.extend(of_variation.map(|outcome| (variation, outcome)));
        }
        Ok((report.with_stability(varied, varying.elapsed().as_secs_f64()), seen))
    }

    /// Analyzes a variation of a video, turned clockwise by `turns` times 90 degrees. Returns the report or why there
    /// is none, such as that no time is left, and `None` if the variation does not apply to pictures.
    fn vary(
        &self,
        live: &Live,
        analysis: &Analysis,
        path: &Path,
        turns: u32,
        variation: Variation,
        started: Instant,
    ) -> Result<Option<Result<Report, String>>, StoppedAnalysis> {
        let upright = analysis.settings.decoding(&self.decoding).with_turn(turns);
        let is_late = || started.elapsed() > self.max_analysis;
        // The analysis itself is complete, so its report is kept if a variation takes too long.
        let late = || Ok(Some(Err(self.late_detail())));
        if is_late() {
            return late();
        }
        let said = |error: &dyn std::error::Error| without_path(&with_causes(error), path);
        let media = match Media::open_with(path, &upright) {
            Ok(media) => media,
            Err(error) => return Ok(Some(Err(said(&error)))),
        };
        let is_still = media.is_still();
        let (media, file) = match variation {
            Variation::Recompressed { crf } => {
                if is_still || !matches!(media, Media::Video(_)) {
                    return Ok(None);
                }
                // In the folder of uploads, it is on the disk that the server watches, and is removed after a crash.
                let file = match self.uploads.create() {
                    Ok((file, _)) => file,
                    Err(error) => {
                        tracing::error!(error = with_causes(&error), "cannot store a recompressed video");
                        return Ok(Some(Err("the recompressed video cannot be stored".into())));
                    }
                };
                let stop = || live.is_cancelled() || is_late();
                let written = recompress_clip(path, file.path(), crf, &upright, &stop);
                // The recompressed file has one stream, so the settings of this analysis choose none.
                let media = written.and_then(|()| Media::open_with(file.path(), &self.decoding));
                match media {
                    _ if live.is_cancelled() => return Err(StoppedAnalysis::Cancelled),
                    _ if is_late() => return late(),
                    Ok(media) => (media, Some(file)),
                    Err(error) => return Ok(Some(Err(without_path(&said(&error), file.path())))),
                }
            }
            _ => (media, None),
        };
        // A message must not reveal where the server keeps its files.
        let place = file.as_ref().map_or(path, Upload::path);
        let said = |error: &dyn std::error::Error| without_path(&said(error), place);
        let stop = CancelToken::new();
        let stop_too = stop.clone();
        let _with_the_analysis = live.token().on_cancel(move || stop_too.cancel());
        let frames = match media.frames(analysis.settings.sampling(media.duration(), self.max_frames)) {
            Ok(frames) => frames.with_cancel(&stop),
            Err(error) => return Ok(Some(Err(said(&error)))),
        };
        let expected = frames.expected_frames();
        let frames = Box::new(frames.boxed().map(move |frame| frame.map(|frame| variation.apply(frame))));
        let took_too_long = AtomicBool::new(false);
        let job = deepsight_core::Job::new().with_input(media.input()).with_cancel(stop.clone()).with_progress(|_| {
            if is_late() {
                took_too_long.store(true, Ordering::Relaxed);
                stop.cancel();
            }
        });
        // A variation is sampled in the same way, so that the scores can be compared.
        let job = self.with_closer_look(job, &stop, analysis, &media, expected, move |frame| variation.apply(frame));
        let outcome = self.engine.analyze(frames, &analysis.settings, false, is_still, job);
        if took_too_long.load(Ordering::Relaxed) && !live.is_cancelled() {
            return late();
        }
        if stop.is_cancelled() {
            return Err(StoppedAnalysis::Cancelled);
        }
        let for_the_client = |error| match error {
            EngineError::Model(error) => said(&error),
            error => Failure::hide(&error).detail().to_owned(),
        };
        Ok(Some(outcome.map_err(for_the_client)))
    }

    /// Lets a job sample more frames around suspicious faces of a video of which `expected` frames are analyzed, if the
    /// settings and the limit of frames allow it. `change` is applied to each further frame.
    fn with_closer_look<'a>(
        &self,
        job: deepsight_core::Job<'a>,
        cancel: &'a CancelToken,
        analysis: &Analysis,
        media: &'a Media,
        expected: u64,
        change: impl Fn(Frame) -> Frame + Copy + Send + 'a,
    ) -> deepsight_core::Job<'a> {
        let room = usize::try_from(self.max_frames.saturating_sub(expected)).unwrap_or(usize::MAX);
        match media {
            Media::Video(video) if analysis.settings.is_auto() && room > 0 && !media.is_still() => job
                .with_closer_look(room.min(CLOSER_FRAMES), move |times| {
                    let frames = video.frames(Sampling::times(times))?.with_cancel(cancel).boxed();
                    Ok(Box::new(frames.map(move |frame| frame.map(change))))
                }),
            _ => job,
        }
    }

    /// Returns the failure of an analysis that takes too long.
    fn late(&self) -> StoppedAnalysis {
        StoppedAnalysis::Failed(Failure::over_limit("max_analysis", self.late_detail()))
    }

    fn late_detail(&self) -> String {
        format!("The analysis took more than {} s, which is the limit.", self.max_analysis.as_secs_f64())
    }

    /// Analyzes a video. If it finds nobody, turns the picture in steps of 90 degrees, and analyzes it again if there
    /// are faces then. Also returns the number of steps.
    fn look_upright(
        &self,
        live: &Live,
        analysis: &Analysis,
        path: &Path,
        video: Option<Media>,
        stored: bool,
        started: Instant,
    ) -> Result<(Report, Seen, u32), StoppedAnalysis> {
        let of_video = |error| StoppedAnalysis::of_video(&error, live);
        let decoding = analysis.settings.decoding(&self.decoding);
        let video = video.map_or_else(|| Media::open_with(path, &decoding), Ok).map_err(of_video)?;
        let (report, seen) = self.look(live, analysis, path, &video, stored, started)?;
        if !report.found_nobody() {
            return Ok((report, seen, 0));
        }
        let turned = |turns| Media::open_with(path, &decoding.clone().with_turn(turns));
        let turn = self.engine.find_turn(&analysis.settings, &mut |turns, count| {
            if live.is_cancelled() || started.elapsed() > self.max_analysis {
                return Err("no time is left".into());
            }
            Ok(turned(turns)?.frames(Sampling::evenly(count))?.with_cancel(&live.token()).boxed())
        });
        let Some(turns) = turn else { return Ok((report, seen, 0)) };
        let video = turned(turns).map_err(of_video)?;
        let (report, seen) = self.look(live, analysis, path, &video, stored, started)?;
        Ok((report.of_turned_picture(turns), seen, turns))
    }

    /// Analyzes an opened video, within the remaining time of an analysis that started at `started`.
    fn look(
        &self,
        live: &Live,
        analysis: &Analysis,
        path: &Path,
        video: &Media,
        stored: bool,
        started: Instant,
    ) -> Result<(Report, Seen), StoppedAnalysis> {
        let of_video = |error| StoppedAnalysis::of_video(&error, live);
        let sampling = analysis.settings.sampling(video.duration(), self.max_frames);
        let frames = video.frames(sampling).map_err(of_video)?.with_cancel(&live.token());
        let is_still = video.is_still();

        let (mut pictures, late) = (Vec::new(), AtomicBool::new(false));
        let expected = frames.expected_frames();
        let job = deepsight_core::Job::new()
            .with_input(described(video, analysis))
            .with_expected(expected)
            .with_cancel(live.token())
            .with_progress(|progress| {
                live.progress(Counts::from(progress));
                if started.elapsed() > self.max_analysis {
                    late.store(true, Ordering::Relaxed);
                    live.cancel();
                }
            })
            .with_scored(|face| {
                if stored && pictures.len() < MAX_PICTURES {
                    match jpeg(face.image) {
                        Ok(jpeg) => pictures.push(Picture { frame: face.index, face: face.face as u64, jpeg }),
                        Err(error) => tracing::warn!(%error, "cannot store the picture of a face"),
                    }
                }
                live.scored(Scored::from(face));
            });
        let token = live.token();
        let job = self.with_closer_look(job, &token, analysis, video, expected, |frame| frame);
        // Without the frames of the closer look, so that the look of a video does not depend on its scores.
        let looker = Mutex::new(Looker::new());
        let watched = frames.boxed().inspect(|frame| {
            if let (Ok(frame), true) = (frame, stored) {
                locked(&looker).look_at(&frame.image);
            }
        });
        let outcome = self.engine.analyze(Box::new(watched), &analysis.settings, stored, is_still, job);
        if late.load(Ordering::Relaxed) {
            return Err(self.late());
        }
        // Check this first: a decoder that was stopped returns the same error as one that failed.
        if live.is_cancelled() {
            return Err(StoppedAnalysis::Cancelled);
        }
        let report = outcome.map_err(|error| match &error {
            EngineError::Model(Error::Cancelled) => StoppedAnalysis::Cancelled,
            EngineError::Model(error) => StoppedAnalysis::Failed(Failure::of_analysis(error, path)),
            error => StoppedAnalysis::Failed(Failure::hide(error)),
        })?;
        let look = looker.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
        Ok((without_paths(report, path), Seen { pictures, look }))
    }

    /// Stores a report. Retries every second while the database cannot be reached and the analysis is this process's.
    fn keep_patiently(&self, live: &Live, analysis: &Analysis, report: &Report, seen: &Seen) -> Result<(), StoreError> {
        loop {
            match self.keep(analysis, report, seen) {
                Err(error) if error.is_passing() && !live.is_cancelled() && !self.is_stopping() => {
                    tracing::warn!(error = with_causes(&error), "cannot store a report; trying again");
                    std::thread::sleep(Duration::from_secs(1));
                }
                outcome => return outcome,
            }
        }
    }

    fn keep(&self, analysis: &Analysis, report: &Report, seen: &Seen) -> Result<(), StoreError> {
        let failed = |error: &dyn std::error::Error| StoreError::Content(serde::ser::Error::custom(error.to_string()));
        if !analysis.is_stored() {
            let json = report.to_json().map_err(|error| failed(&error))?;
            return self.store.answer(analysis, Ok(&json), || self.delete_upload(analysis));
        }
        let signed = match &self.signing_key {
            Some(key) => {
                let record = Record::new().with_created(Moment::now().to_string()).with_program(crate::domain::PROGRAM);
                Some(report.clone().with_record(record).sign(key).map_err(|error| failed(&error))?)
            }
            None => None,
        };
        let report = signed.as_ref().unwrap_or(report);
        let json = report.to_json().map_err(|error| failed(&error))?;
        let html = report.to_html();
        if self.store.finish(analysis, Moment::now(), &in_brief(report), &json, &html, seen)? {
            // The report is stored, so this is no failure: the next start prepares the webhook again.
            if let Err(error) = self.announce(&analysis.id) {
                tracing::error!(error = with_causes(&error), "cannot prepare a webhook");
            }
        }
        Ok(())
    }

    fn told(&self, report: &Report, took: Duration) {
        self.metrics.ended(Ended::done);
        self.metrics.reported(report);
        let (frames, seconds) = (report.frames.len(), took.as_secs_f64());
        tracing::info!(verdict = %report.verdict, frames, seconds, "analysed");
    }

    pub(super) fn failed(
        &self,
        analysis: &Analysis,
        failure: &Failure,
        reply: Option<tokio::sync::oneshot::Sender<Result<Report, Failure>>>,
    ) {
        self.metrics.ended(Ended::failed);
        tracing::info!(status = failure.status(), "failed");
        if let Some(reply) = reply {
            return drop(reply.send(Err(failure.clone())));
        }
        self.keep_failure(analysis, failure);
    }

    /// Stores the failure of an analysis. If the database cannot be written, such as on a full disk, it retries every
    /// second until the write succeeds or the server stops: clients must see the true state, and starting another
    /// analysis meanwhile would be of no use.
    pub(super) fn keep_failure(&self, analysis: &Analysis, failure: &Failure) {
        while let Err(error) = self.fail(analysis, failure) {
            tracing::error!(error = with_causes(&error), "cannot store the failure of an analysis");
            if self.is_stopping() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Returns the description of a video for its report, with the client's name of it as its path.
fn described(video: &Media, analysis: &Analysis) -> Input {
    let mut input = video.input();
    input.path.clone_from(&analysis.file_name);
    input.sha256 = Some(analysis.sha256.clone());
    input
}

/// Returns the report without the server's path in any message.
fn without_paths(mut report: Report, path: &Path) -> Report {
    for error in &mut report.errors.first {
        error.message = without_path(&error.message, path);
    }
    report
}

/// Returns the summary of a report for the list of analyses.
pub(crate) fn in_brief(report: &Report) -> Finished {
    Finished {
        verdict: report.verdict,
        fake_probability: report.fake_probability,
        threshold: report.settings.analyzer.threshold.unwrap_or(report.model.threshold),
        reasons: report.reasons.iter().map(ToString::to_string).collect(),
        faces: report.tracks.iter().map(|track| track.scored as u64).sum(),
        people: report.tracks.len() as u64,
        frames: report.frames.len() as u64,
        errors: report.errors.count,
        model: Some(model_id(&report.model)),
    }
}

/// Encodes a picture as JPEG.
pub(crate) fn jpeg(picture: &RgbImage) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = picture.dimensions();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, PICTURE_QUALITY);
    encoder.write_image(picture, width, height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}
