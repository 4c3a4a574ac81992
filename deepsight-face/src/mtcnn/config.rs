use burn::tensor::backend::Backend;
use deepsight_core::Engine;

use crate::{Error, Mtcnn};

/// Settings of [`Mtcnn`], with the defaults of facenet-pytorch.
///
/// ```
/// use deepsight_face::MtcnnConfig;
///
/// let device = Default::default();
/// let detector = MtcnnConfig::new().with_min_face_size(40.0).init::<burn::backend::Flex>(&device)?;
/// assert_eq!(detector.config().min_face_size, 40.0);
/// # Ok::<(), deepsight_face::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MtcnnConfig {
    /// Side in pixels of the smallest face to find, `4..=16384`. Time falls with its square. Default 20.
    ///
    /// It is measured in the searched image, which is the smaller copy if [`max_side`](Self::max_side) makes one.
    pub min_face_size: f32,
    /// Probabilities that a box must reach to pass P-Net, R-Net and O-Net, each in `0..=1`. Default 0.6, 0.7, 0.7.
    pub thresholds: [f32; 3],
    /// Ratio between neighboring levels of the image pyramid, `0.1..=0.95`. Default 0.709, about `√½`.
    pub factor: f64,
    /// Number of faces to keep per image, the largest ones. Default: all.
    pub max_faces: Option<usize>,
    /// Longer side in pixels, at least 12, of the copy in which faces are searched. Only larger images are copied.
    /// Boxes and landmarks are in pixels of the original. Default: the original is searched.
    pub max_side: Option<u32>,
    /// Engine that computes the networks. The faces are the same up to rounding. Default: the fused engine if the
    /// backend is a CPU, else Burn.
    pub engine: Engine,
    /// Images that go through the networks together on a GPU, at least 1. If a call has more images, it runs several
    /// batches. The GPU memory that is needed grows with this number. Default 32.
    pub batch_size: usize,
}

impl MtcnnConfig {
    /// Creates settings with the defaults of facenet-pytorch.
    pub fn new() -> Self {
        Self {
            min_face_size: 20.0,
            thresholds: [0.6, 0.7, 0.7],
            factor: 0.709,
            max_faces: None,
            max_side: None,
            engine: Engine::Auto,
            batch_size: 32,
        }
    }

    /// Sets [`min_face_size`](Self::min_face_size).
    #[must_use]
    pub fn with_min_face_size(mut self, pixels: f32) -> Self {
        self.min_face_size = pixels;
        self
    }

    /// Sets [`thresholds`](Self::thresholds).
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: [f32; 3]) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Sets [`factor`](Self::factor).
    #[must_use]
    pub fn with_factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets [`max_faces`](Self::max_faces).
    #[must_use]
    pub fn with_max_faces(mut self, max_faces: impl Into<Option<usize>>) -> Self {
        self.max_faces = max_faces.into();
        self
    }

    /// Sets [`max_side`](Self::max_side).
    #[must_use]
    pub fn with_max_side(mut self, pixels: impl Into<Option<u32>>) -> Self {
        self.max_side = pixels.into();
        self
    }

    /// Sets [`engine`](Self::engine).
    #[must_use]
    pub fn with_engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Sets [`batch_size`](Self::batch_size).
    #[must_use]
    pub fn with_batch_size(mut self, images: usize) -> Self {
        self.batch_size = images;
        self
    }

    /// Creates a detector with these settings and the pretrained weights on a device.
    ///
    /// # Errors
    /// Returns [`Error::Setting`] for a value out of its range. Returns [`Error::InstructionSet`] if the environment
    /// variable [`DEEPSIGHT_CPU`](deepsight_kernels::InstructionSet::VARIABLE) names instructions that
    /// this processor does not have.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Result<Mtcnn<B>, Error> {
        self.validate()?;
        Mtcnn::load(self.clone(), device)
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// Returns [`Error::Setting`] for the first value out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |ok, name, value, allowed| if ok { Ok(()) } else { Err(Error::Setting { name, value, allowed }) };
        let size = self.min_face_size;
        // Below 4, the image would be enlarged more than threefold for P-Net's 12 pixels.
        check((4.0..=16384.0).contains(&size), "min_face_size", size.into(), "4..=16384")?;
        for (threshold, name) in self.thresholds.iter().zip(["thresholds[0]", "thresholds[1]", "thresholds[2]"]) {
            check((0.0..=1.0).contains(threshold), name, (*threshold).into(), "0..=1")?;
        }
        check((0.1..=0.95).contains(&self.factor), "factor", self.factor, "0.1..=0.95")?;
        if let Some(faces) = self.max_faces {
            check(faces >= 1, "max_faces", faces as f64, "1 and above")?;
        }
        if let Some(side) = self.max_side {
            check(side >= 12, "max_side", side.into(), "12 and above")?;
        }
        check(self.batch_size >= 1, "batch_size", self.batch_size as f64, "1 and above")
    }
}

impl Default for MtcnnConfig {
    fn default() -> Self {
        Self::new()
    }
}
