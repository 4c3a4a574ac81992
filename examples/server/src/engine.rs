//! The networks: one detector and one classifier that all analyses share, on a backend chosen at run time.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use deepsight_core::image::RgbImage;
use deepsight_core::{
    ActivationMap, Analyzer, Classifier, Error, FaceClassifier, Job, ModelCard, ModelInfo, Report, Threads,
};
use deepsight_device::with_backend;
use deepsight_face::{Mtcnn, MtcnnConfig};
use deepsight_video::Frames;

use crate::options::Options;
use crate::settings::Settings;

/// Faces of each person that a report shows with their activation maps.
const EVIDENCE: usize = 3;
/// Frames and faces that a GPU is given at once.
const GPU_BATCHES: (usize, usize) = (32, 128);

/// What analyses videos. Clones share the networks; nothing in here changes.
#[derive(Clone)]
pub(crate) struct Engine {
    networks: Arc<dyn Networks>,
    device: String,
    threads: usize,
}

/// Why the networks cannot be used.
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
    /// Loads the networks, and checks that the model scores its golden input as its file promises.
    pub(crate) fn load(options: &Options) -> Result<Self, EngineError> {
        options.device.prepare()?;
        let threads = options.threads.map_or_else(|| Ok(Threads::global()), |count| Threads::new(count.into()))?;
        let count = threads.count();
        let networks: Result<Arc<dyn Networks>, EngineError> = with_backend!(options.device, |B, device| {
            OnBackend::<B>::load(options, threads, &device).map(|networks| Arc::new(networks) as Arc<dyn Networks>)
        });
        Ok(Self { networks: networks?, device: options.device.to_string(), threads: count })
    }

    /// Runs one analysis on the calling thread. `shown` says whether anybody will see pictures of it.
    pub(crate) fn analyze(
        &self,
        frames: Frames,
        settings: &Settings,
        shown: bool,
        job: Job<'_>,
    ) -> Result<Report, EngineError> {
        let evidence = if shown { EVIDENCE } else { 0 };
        let report = self.networks.analyze(frames, settings, evidence, job)?;
        let report = report.with_setting("device", self.device.clone()).with_setting("threads", self.threads);
        Ok(match (settings.fps, settings.frames) {
            (Some(fps), _) => report.with_setting("fps", fps),
            (None, frames) => report.with_setting("frames", frames),
        })
    }

    /// Where in a cut-out face the evidence lies.
    pub(crate) fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        self.networks.explain(face)
    }

    pub(crate) fn card(&self) -> &ModelCard {
        self.networks.card()
    }

    pub(crate) fn model(&self) -> ModelInfo {
        self.networks.model()
    }

    pub(crate) fn device(&self) -> &str {
        &self.device
    }
}

/// The networks with their backend forgotten.
trait Networks: Send + Sync {
    fn analyze(
        &self,
        frames: Frames,
        settings: &Settings,
        evidence: usize,
        job: Job<'_>,
    ) -> Result<Report, EngineError>;
    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error>;
    fn card(&self) -> &ModelCard;
    fn model(&self) -> ModelInfo;
}

struct OnBackend<B: Backend> {
    /// Its clones score their faces together.
    analyzer: Analyzer<Mtcnn<B>, Arc<Classifier<B>>>,
    /// Frames and faces that a GPU is given at once.
    batches: Option<(usize, usize)>,
}

impl<B: Backend> OnBackend<B> {
    fn load(options: &Options, threads: Threads, device: &B::Device) -> Result<Self, EngineError> {
        let detector = MtcnnConfig::new().with_engine(options.engine).init::<B>(device)?;
        let classifier = match &options.model {
            Some(path) => Classifier::<B>::load(path, device),
            None => Classifier::<B>::pretrained(device),
        }?;
        let classifier = classifier.with_engine(options.engine)?;
        // What the file promises, it promises of single precision.
        threads.install(|| classifier.verify())?;
        let classifier = classifier.with_precision(options.precision)?;
        let (batches, classifier) = match options.device.is_gpu() {
            true => (Some(GPU_BATCHES), classifier.with_batch_size(GPU_BATCHES.1)),
            false => (None, classifier),
        };
        if batches.is_some() {
            // Before the server says that it is ready, not while the first client waits.
            threads.install(|| {
                detector.warm_up(1, 1280, 720)?;
                Ok::<_, EngineError>(classifier.warm_up(GPU_BATCHES.1)?)
            })?;
        }
        let analyzer = Analyzer::new(detector, Arc::new(classifier)).with_threads(threads);
        Ok(Self { analyzer, batches })
    }
}

impl<B: Backend> Networks for OnBackend<B> {
    fn analyze(
        &self,
        frames: Frames,
        settings: &Settings,
        evidence: usize,
        job: Job<'_>,
    ) -> Result<Report, EngineError> {
        let detector = self.analyzer.detector().with_min_face_size(settings.min_face_size)?;
        let config = settings.analyzer(evidence);
        let config = match self.batches {
            Some((frames, faces)) => config.with_batches(frames, faces),
            None => config,
        };
        let analyzer = self.analyzer.clone().with_detector(detector).with_config(config)?;
        Ok(analyzer.analyze_job(frames, job)?)
    }

    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Error> {
        let classifier = self.analyzer.classifier();
        self.analyzer.threads().install(|| classifier.explain(face))
    }

    fn card(&self) -> &ModelCard {
        self.analyzer.classifier().card()
    }

    fn model(&self) -> ModelInfo {
        self.analyzer.classifier().info()
    }
}
