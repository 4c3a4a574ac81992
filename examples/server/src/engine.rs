//! The networks: one detector and one classifier, shared by all analyses, on a backend chosen at run time.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use deepsight_core::image::RgbImage;
use deepsight_core::{
    ActivationMap, Analyzer, AnalyzerConfig, BoxError, Classifier, CloserFrames, Error, FaceClassifier, Job, ModelInfo,
    Models, Report, Threads, model::ModelCard,
};
use deepsight_device::with_backend;
use deepsight_face::{Mtcnn, MtcnnConfig};

use crate::domain::Settings;
use crate::options::Options;

/// Faces of each person that a report shows with an activation map.
const EVIDENCE: usize = 3;
/// Batch sizes on a GPU: frames for the detector, faces for the classifier.
const GPU_BATCHES: (usize, usize) = (32, 128);

/// The networks that analyze videos. Clones share them; they are immutable.
#[derive(Clone)]
pub(crate) struct Engine {
    networks: Arc<dyn Networks>,
    device: String,
    threads: usize,
}

/// An error that keeps the networks from being used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(transparent)]
    Device(#[from] deepsight_device::DeviceError),
    #[error(transparent)]
    Model(#[from] Error),
    #[error("cannot load the face detector")]
    Detector(#[from] deepsight_face::Error),
}

impl Engine {
    /// Loads the networks, and checks that the model scores its golden input as its file says.
    pub(crate) fn load(options: &Options) -> Result<Self, EngineError> {
        options.device.prepare()?;
        let threads = options.threads.map_or_else(|| Ok(Threads::global()), |count| Threads::new(count.into()))?;
        let count = threads.count();
        let networks: Result<Arc<dyn Networks>, EngineError> = with_backend!(options.device, |B, device| {
            OnBackend::<B>::load(options, threads, &device).map(|networks| Arc::new(networks) as Arc<dyn Networks>)
        });
        Ok(Self { networks: networks?, device: options.device.to_string(), threads: count })
    }

    /// Runs one analysis on the calling thread. The report has activation maps only if `shown` is true. `is_still` says
    /// that the frames are those of a still picture.
    pub(crate) fn analyze(
        &self,
        frames: CloserFrames<'_>,
        settings: &Settings,
        shown: bool,
        is_still: bool,
        job: Job<'_>,
    ) -> Result<Report, EngineError> {
        let config = settings.analyzer(if shown { EVIDENCE } else { 0 });
        let config = if is_still { config.for_still_picture() } else { config };
        let report = self.networks.analyze(frames, settings, config, job)?;
        let report = if is_still { report.of_still_picture() } else { report };
        let report = report.with_setting("device", self.device.clone()).with_setting("threads", self.threads);
        Ok(match (settings.fps, settings.frames) {
            (Some(fps), _) => report.with_setting("fps", fps),
            (None, Some(frames)) => report.with_setting("frames", frames),
            (None, None) => report.with_setting("frames", "auto"),
        })
    }

    /// Finds the rotation of a picture in which there are faces, for an analysis that found nobody: see
    /// [`Analyzer::find_turn`].
    pub(crate) fn find_turn(
        &self,
        settings: &Settings,
        frames: &mut dyn FnMut(u32, u64) -> Result<CloserFrames<'static>, BoxError>,
    ) -> Option<u32> {
        self.networks.find_turn(settings, settings.analyzer(0), frames)
    }

    /// Computes the activation map of a crop: where in the face the evidence lies.
    pub(crate) fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        self.networks.explain(face)
    }

    /// Returns the card of the model, or those of the models of an ensemble.
    pub(crate) fn cards(&self) -> Vec<&ModelCard> {
        self.networks.cards()
    }

    pub(crate) fn model(&self) -> ModelInfo {
        self.networks.model()
    }

    pub(crate) fn device(&self) -> &str {
        &self.device
    }
}

/// The networks without the type of their backend, so that it can be chosen at run time.
trait Networks: Send + Sync {
    fn analyze(
        &self,
        frames: CloserFrames<'_>,
        settings: &Settings,
        config: AnalyzerConfig,
        job: Job<'_>,
    ) -> Result<Report, EngineError>;
    fn find_turn(
        &self,
        settings: &Settings,
        config: AnalyzerConfig,
        frames: &mut dyn FnMut(u32, u64) -> Result<CloserFrames<'static>, BoxError>,
    ) -> Option<u32>;
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error>;
    fn cards(&self) -> Vec<&ModelCard>;
    fn model(&self) -> ModelInfo;
}

struct OnBackend<B: Backend> {
    /// The analyzer that all analyses clone. Faces of its clones are scored in common batches.
    analyzer: Analyzer<Mtcnn<B>, Arc<Models<Classifier<B>>>>,
    /// Batch sizes on a GPU (frames, faces); `None` on a CPU.
    batches: Option<(usize, usize)>,
}

impl<B: Backend> OnBackend<B> {
    fn load(options: &Options, threads: Threads, device: &B::Device) -> Result<Self, EngineError> {
        let detector = MtcnnConfig::new().with_engine(options.engine).init::<B>(device)?;
        let batches = options.device.is_gpu().then_some(GPU_BATCHES);
        let prepared = |classifier: Classifier<B>| -> Result<Classifier<B>, Error> {
            let classifier = classifier.compute_with(options.engine)?;
            // Verify before the precision is lowered: the golden scores in the file are those of single precision.
            threads.install(|| classifier.verify())?;
            let classifier = classifier.compute_in(options.precision)?;
            Ok(match batches {
                Some((_, faces)) => classifier.with_batch_size(faces),
                None => classifier,
            })
        };
        let classifier = match &options.model {
            Some(path) => Models::load(&[path], |path| prepared(Classifier::load(path, device)?))?,
            None => Models::One(prepared(Classifier::pretrained(device)?)?),
        };
        if batches.is_some() {
            // Warm up before the server is ready, so that the first client does not wait for it.
            threads.install(|| {
                detector.warm_up(1, 1280, 720)?;
                let faces = GPU_BATCHES.1;
                Ok::<_, EngineError>(classifier.models().iter().try_for_each(|model| model.warm_up(faces))?)
            })?;
        }
        let analyzer = Analyzer::new(detector, Arc::new(classifier)).with_threads(threads);
        Ok(Self { analyzer, batches })
    }
}

impl<B: Backend> OnBackend<B> {
    /// Returns a clone of the analyzer with the settings of one analysis.
    fn analyzer(&self, settings: &Settings, config: AnalyzerConfig) -> Analyzer<Mtcnn<B>, Arc<Models<Classifier<B>>>> {
        let detector = self.analyzer.detector().with_min_face_size(settings.min_face_size);
        let config = match self.batches {
            Some((frames, faces)) => config.with_batches(frames, faces),
            None => config,
        };
        self.analyzer.clone().with_detector(detector).with_config(config)
    }
}

impl<B: Backend> Networks for OnBackend<B> {
    fn analyze(
        &self,
        frames: CloserFrames<'_>,
        settings: &Settings,
        config: AnalyzerConfig,
        job: Job<'_>,
    ) -> Result<Report, EngineError> {
        Ok(self.analyzer(settings, config).analyze_job(frames, job)?)
    }

    fn find_turn(
        &self,
        settings: &Settings,
        config: AnalyzerConfig,
        frames: &mut dyn FnMut(u32, u64) -> Result<CloserFrames<'static>, BoxError>,
    ) -> Option<u32> {
        self.analyzer(settings, config).find_turn(frames)
    }

    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        let classifier = self.analyzer.classifier();
        self.analyzer.threads().install(|| classifier.explain(face))
    }

    fn cards(&self) -> Vec<&ModelCard> {
        self.analyzer.classifier().models().iter().map(Classifier::card).collect()
    }

    fn model(&self) -> ModelInfo {
        self.analyzer.classifier().info()
    }
}
