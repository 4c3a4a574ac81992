use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::backend::Backend;
use deepsight_core::image::RgbImage;
use deepsight_core::{
    ActivationMap, Analyzer, AnalyzerConfig, BoxError, CLOSER_FRAMES, CancelToken, Classifier, Face, FaceClassifier,
    FaceCrop, FaceDetector, FaceScore, Frame, Job, ModelInfo, Models, Report, Threads,
};
use deepsight_face::MtcnnConfig;
use deepsight_video::{DecodeOptions, Media, Sampling, VideoError};

use crate::boxed::{AnyClassifier, AnyDetector, Boxed};
use crate::{Analyses, Device, Error};

/// Frames and faces that a GPU gets at once, unless the settings say otherwise.
const GPU_BATCHES: (usize, usize) = (32, 128);

/// A detector of forged faces: the networks on a device, and the settings with which clips are analyzed.
///
/// Clones share the networks, and faces of simultaneous analyses are scored together. All methods may be called from
/// several threads at the same time.
#[derive(Clone)]
pub struct Detector {
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    analyzer: Analyzer<AnyDetector, AnyClassifier>,
    crop: FaceCrop,
    device: Device,
    /// `None` lets the length of the clip choose.
    sampling: Option<Sampling>,
    decoding: DecodeOptions,
}

impl Detector {
    /// Loads the bundled model onto the processor, with the default settings.
    ///
    /// # Errors
    /// [`Error::NoModel`] if the program was built without the bundled model, [`Error::Analysis`] if the environment
    /// variable `DEEPSIGHT_CPU` names instructions that the processor does not have.
    pub fn open() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Returns a builder that chooses the device, the model and the settings.
    pub fn builder() -> DetectorBuilder {
        DetectorBuilder::default()
    }

    /// Analyzes a video file, or a still picture (JPEG, PNG or WebP). If nobody is found in it, the picture is turned
    /// by quarters; if there are faces then, the turned picture is analyzed, and the reasons say so.
    ///
    /// # Errors
    /// [`Error::Video`] if the file cannot be opened or is over a limit, [`Error::Analysis`] if no frame of it could be
    /// decoded or analyzed.
    pub fn analyze(&self, path: impl AsRef<Path>) -> Result<Report, Error> {
        self.analyze_job(path, Job::new())
    }

    /// Analyzes a video file with progress callbacks and a token that cancels. The expected number of frames is set
    /// here.
    ///
    /// # Errors
    /// The errors of [`analyze`](Self::analyze), and [`Error::Analysis`] with
    /// [`Cancelled`](deepsight_core::Error::Cancelled).
    pub fn analyze_job(&self, path: impl AsRef<Path>, job: Job<'_>) -> Result<Report, Error> {
        self.analyze_file(path.as_ref(), job)
    }

    fn analyze_file(&self, path: &Path, job: Job<'_>) -> Result<Report, Error> {
        let cancel = job.cancel_token().clone();
        let report = self.analyze_turned(path, 0, job)?;
        let report = match report.found_nobody().then(|| self.find_turn(path, &cancel)).flatten() {
            Some(turns) => {
                let job = Job::new().with_cancel(cancel);
                self.analyze_turned(path, turns, job)?.of_turned_picture(turns)
            }
            None => report,
        };
        Ok(report.with_setting("device", self.shared.device.to_string()))
    }

    /// Searches for the quarter turn at which a file's picture has faces.
    fn find_turn(&self, path: &Path, cancel: &CancelToken) -> Option<u32> {
        let Shared { analyzer, decoding, .. } = &*self.shared;
        analyzer.find_turn(|turns, count| {
            let media = open(path, decoding, turns, cancel)?;
            Ok(media.frames(Sampling::evenly(count))?.with_cancel(cancel).boxed())
        })
    }

    fn analyze_turned(&self, path: &Path, turns: u32, job: Job<'_>) -> Result<Report, Error> {
        let Shared { analyzer, sampling, decoding, .. } = &*self.shared;
        let cancel = job.cancel_token().clone();
        let media = open(path, decoding, turns, &cancel)?;
        let frames = media.frames(sampling.clone().unwrap_or_else(|| Sampling::auto(media.duration())))?;
        let frames = frames.with_cancel(&cancel);
        let job = job.with_expected(frames.expected_frames()).with_input(media.input());
        Ok(match media {
            media if media.is_still() => self.analyze_still(frames, job)?,
            Media::Video(video) if sampling.is_none() => analyzer.analyze_job(
                frames,
                job.with_closer_look(CLOSER_FRAMES, move |times| {
                    Ok(video.frames(Sampling::times(times))?.with_cancel(&cancel).boxed())
                }),
            )?,
            _ => analyzer.analyze_job(frames, job)?,
        })
    }

    /// Analyzes the one frame of a picture, in which every face is judged.
    fn analyze_still<E: Into<BoxError>>(
        &self,
        frame: impl IntoIterator<Item = Result<Frame, E>> + Send,
        job: Job<'_>,
    ) -> Result<Report, Error> {
        let config = self.shared.analyzer.config().clone().for_still_picture();
        let analyzer = self.shared.analyzer.clone().with_config(config);
        Ok(analyzer.analyze_job(frame, job)?.of_still_picture())
    }

    /// Analyzes frames of your own, in order of presentation, such as those of a camera.
    ///
    /// # Errors
    /// [`Error::Analysis`] if there are no frames, or none could be analyzed, or the job was cancelled.
    pub fn analyze_frames<I, E>(&self, frames: I, job: Job<'_>) -> Result<Report, Error>
    where
        I: IntoIterator<Item = Result<Frame, E>>,
        I::IntoIter: Send,
        E: Into<BoxError>,
    {
        let mut frames = frames.into_iter().map(|frame| frame.map_err(Into::into));
        self.analyze_boxed(&mut frames, job)
    }

    /// Compiled here once, for every source of frames.
    fn analyze_boxed(
        &self,
        frames: &mut (dyn Iterator<Item = Result<Frame, BoxError>> + Send),
        job: Job<'_>,
    ) -> Result<Report, Error> {
        let report = self.shared.analyzer.analyze_job(frames, job)?;
        Ok(report.with_setting("device", self.shared.device.to_string()))
    }

    /// Analyzes one picture, such as a photograph. It counts as a clip of one frame in which every face is judged.
    ///
    /// # Errors
    /// [`Error::Analysis`] if the picture has no pixels or a network fails.
    pub fn analyze_image(&self, image: &RgbImage) -> Result<Report, Error> {
        let report = self.analyze_still([Ok::<_, BoxError>(Frame::new(0, 0.0, image.clone()))], Job::new())?;
        Ok(report.with_setting("device", self.shared.device.to_string()))
    }

    /// Analyzes several files, up to `jobs` at the same time. The results arrive as they are ready. Dropping the
    /// iterator cancels the remaining analyses.
    pub fn analyze_many<P: Into<PathBuf>>(&self, paths: impl IntoIterator<Item = P>, jobs: usize) -> Analyses {
        Analyses::start(self.clone(), paths.into_iter().map(Into::into).collect(), jobs)
    }

    /// Finds the faces of a picture, largest first. Boxes and landmarks are in pixels.
    ///
    /// # Errors
    /// [`Error::Detection`] if the network fails.
    pub fn faces(&self, image: &RgbImage) -> Result<Vec<Face>, Error> {
        let analyzer = &self.shared.analyzer;
        let faces = analyzer.threads().install(|| analyzer.detector().detect(&[image])).map_err(failure)?;
        Ok(faces.into_iter().next().unwrap_or_default())
    }

    /// Cuts a face out of its picture as the model expects it; of several models, as the first one does.
    ///
    /// # Errors
    /// [`Error::Analysis`] if the face lies outside the picture, or lacks the landmarks that the crop needs.
    pub fn cut(&self, image: &RgbImage, face: &Face) -> Result<RgbImage, Error> {
        Ok(self.shared.crop.cut(image, face)?)
    }

    /// Scores faces that [`cut`](Self::cut) cut out, in order.
    ///
    /// # Errors
    /// [`Error::Analysis`] if a face has no pixels, the network fails, or the detector has several models that need
    /// different crops of a face.
    pub fn score(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Error> {
        let analyzer = &self.shared.analyzer;
        analyzer.threads().install(|| analyzer.classifier().classify(faces)).map_err(failure)
    }

    /// Computes where in a face, cut out by [`cut`](Self::cut), the evidence for a forgery lies.
    ///
    /// # Errors
    /// [`Error::Analysis`] if the face has no pixels or the network fails.
    pub fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        let analyzer = &self.shared.analyzer;
        analyzer.threads().install(|| analyzer.classifier().explain(face)).map_err(failure)
    }

    /// Returns a detector that shares these networks and runs on other threads.
    #[must_use]
    pub fn with_threads(&self, threads: Threads) -> Self {
        let shared = Shared::clone(&self.shared);
        Self { shared: Arc::new(Shared { analyzer: shared.analyzer.with_threads(threads), ..shared }) }
    }

    /// Returns a detector that shares these networks and looks at other frames of a video; `None` lets the length of
    /// the video choose, as [`DetectorBuilder::sampling`] says.
    #[must_use]
    pub fn with_sampling(&self, sampling: impl Into<Option<Sampling>>) -> Self {
        Self { shared: Arc::new(Shared { sampling: sampling.into(), ..Shared::clone(&self.shared) }) }
    }

    /// Returns a detector that shares these networks and has other limits and programs for decoding.
    #[must_use]
    pub fn with_decoding(&self, decoding: DecodeOptions) -> Self {
        Self { shared: Arc::new(Shared { decoding, ..Shared::clone(&self.shared) }) }
    }

    pub(crate) fn analyzer(&self) -> &Analyzer<AnyDetector, AnyClassifier> {
        &self.shared.analyzer
    }

    /// Returns the model's name, terms and decision threshold.
    pub fn model(&self) -> ModelInfo {
        self.shared.analyzer.classifier().info()
    }

    /// Returns the device.
    pub fn device(&self) -> Device {
        self.shared.device
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector")
            .field("model", &self.model().name)
            .field("device", &self.shared.device)
            .field("sampling", &self.shared.sampling)
            .finish_non_exhaustive()
    }
}

/// Opens a file, turned by further quarters, until the token is cancelled.
fn open(path: &Path, decoding: &DecodeOptions, turns: u32, cancel: &CancelToken) -> Result<Media, Error> {
    let options = decoding.clone().with_turn(decoding.turn + turns).with_cancel(cancel);
    Media::open_with(path, &options).map_err(|error| match error {
        VideoError::Stopped { .. } => deepsight_core::Error::Cancelled.into(),
        error => error.into(),
    })
}

/// Recovers the type of a network's boxed error.
fn failure(error: BoxError) -> Error {
    match error.downcast::<deepsight_core::Error>() {
        Ok(error) => Error::Analysis(*error),
        Err(error) => match error.downcast::<deepsight_face::Error>() {
            Ok(error) => Error::Detection(*error),
            Err(error) => Error::Other(error),
        },
    }
}

#[derive(Debug, Clone, Default)]
enum Model {
    #[default]
    Bundled,
    Files(Vec<PathBuf>),
    Bytes(Vec<u8>),
}

/// The device, the model and the settings of a [`Detector`]. Everything is checked by [`build`](Self::build).
///
/// ```
/// use deepsight::{Detector, Sampling};
///
/// let detector = Detector::builder().device("cpu".parse()?).min_face_size(40).sampling(Sampling::fps(2.0)).build()?;
/// # Ok::<(), deepsight::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct DetectorBuilder {
    device: Device,
    model: Model,
    min_face_size: u32,
    threads: Option<usize>,
    sampling: Option<Sampling>,
    decoding: DecodeOptions,
    config: AnalyzerConfig,
}

impl Default for DetectorBuilder {
    fn default() -> Self {
        Self {
            device: Device::default(),
            model: Model::default(),
            min_face_size: 20,
            threads: None,
            sampling: None,
            decoding: DecodeOptions::default(),
            config: AnalyzerConfig::default(),
        }
    }
}

impl DetectorBuilder {
    /// Sets the device. Default: the processor.
    pub fn device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Sets the model file, or the ensemble file. Default: the bundled model.
    pub fn model(self, path: impl Into<PathBuf>) -> Self {
        self.models([path])
    }

    /// Sets several model files. Every model scores every face, and the report has the answer of each model, their
    /// calibrated mean and their disagreement ([`Ensemble`](deepsight_core::Ensemble)).
    pub fn models<P: Into<PathBuf>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        Self { model: Model::Files(paths.into_iter().map(Into::into).collect()), ..self }
    }

    /// Sets the content of a model file, in place of [`model`](Self::model).
    pub fn model_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { model: Model::Bytes(bytes.into()), ..self }
    }

    /// Sets the size in pixels of the smallest face to find. Larger is faster. Default: 20.
    pub fn min_face_size(self, pixels: u32) -> Self {
        Self { min_face_size: pixels, ..self }
    }

    /// Sets the number of threads. Default: one for each core, shared with the rest of the program.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Sets which frames of a video are analyzed. Default: a number that depends on its length ([`Sampling::auto`]),
    /// and more around suspicious seconds.
    pub fn sampling(self, sampling: Sampling) -> Self {
        Self { sampling: Some(sampling), ..self }
    }

    /// Sets the limits and programs for decoding.
    pub fn decoding(self, decoding: DecodeOptions) -> Self {
        Self { decoding, ..self }
    }

    /// Sets how faces are followed, combined and judged.
    pub fn analyzer(self, config: AnalyzerConfig) -> Self {
        Self { config, ..self }
    }

    /// Loads the networks onto the device.
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceNotBuilt`] if the device cannot be used, [`Error::NoModel`] if there is no
    /// model, [`Error::Analysis`] if the model cannot be read or is damaged, or a setting is outside its range,
    /// [`Error::Detection`] if the face detector's is.
    pub fn build(self) -> Result<Detector, Error> {
        self.device.check()?;
        let is_gpu = self.device != Device::Cpu;
        let threads = self.threads.map_or_else(|| Ok(Threads::global()), Threads::new)?;
        let (detector, classifier) = threads.install(|| self.networks())?;
        let crop = classifier.info().crop;
        let config = match is_gpu && self.has_default_batches() {
            true => self.config.with_batches(GPU_BATCHES.0, GPU_BATCHES.1),
            false => self.config,
        };
        config.validate()?;
        let analyzer = Analyzer::new(detector, classifier).with_config(config).with_threads(threads);
        let Self { device, sampling, decoding, .. } = self;
        Ok(Detector { shared: Arc::new(Shared { analyzer, crop, device, sampling, decoding }) })
    }

    fn networks(&self) -> Result<(AnyDetector, AnyClassifier), Error> {
        match self.device {
            Device::Cpu => self.networks_on::<burn::backend::Flex>(&Default::default(), false),
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => {
                self.networks_on::<burn::backend::Cuda>(&burn::backend::cuda::CudaDevice::new(index), true)
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(self.device.not_built("cuda")),
            #[cfg(feature = "wgpu")]
            Device::Wgpu(index) => self.networks_on::<burn::backend::Wgpu>(&deepsight_device::wgpu_device(index), true),
            #[cfg(not(feature = "wgpu"))]
            Device::Wgpu(_) => Err(self.device.not_built("wgpu")),
        }
    }

    fn networks_on<B: Backend>(&self, place: &B::Device, gpu: bool) -> Result<(AnyDetector, AnyClassifier), Error> {
        let detector = MtcnnConfig::new().with_min_face_size(self.min_face_size as f32).init::<B>(place)?;
        let prepared = |classifier: Classifier<B>| -> Result<Classifier<B>, deepsight_core::Error> {
            // A model that gives other results here than where it was trained must not be used.
            classifier.verify()?;
            Ok(if gpu { classifier.with_batch_size(GPU_BATCHES.1) } else { classifier })
        };
        let classifier = match &self.model {
            Model::Bundled => Models::One(prepared(bundled::<B>(place)?)?),
            Model::Files(paths) => Models::load(paths, |path| prepared(Classifier::load(path, place)?))?,
            Model::Bytes(bytes) => Models::One(prepared(Classifier::from_bytes(bytes, place)?)?),
        };
        Ok((Arc::new(Boxed(detector)), Arc::new(Boxed(classifier))))
    }

    fn has_default_batches(&self) -> bool {
        let default = AnalyzerConfig::default();
        (self.config.detect_batch, self.config.classify_batch) == (default.detect_batch, default.classify_batch)
    }
}

#[cfg(feature = "weights")]
fn bundled<B: Backend>(place: &B::Device) -> Result<Classifier<B>, Error> {
    Ok(Classifier::pretrained(place)?)
}

#[cfg(not(feature = "weights"))]
fn bundled<B: Backend>(_: &B::Device) -> Result<Classifier<B>, Error> {
    Err(Error::NoModel)
}
