//! Frames of one color that hold their own number, and a detector and a classifier that work from that number.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    ActivationMap, BoundingBox, DetectorInfo, Face, FaceClassifier, FaceCrop, FaceDetector, FaceScore, Frame,
    Landmarks, ModelInfo, Reliability,
};

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

/// Creates frame `number`. It is gray, and the red value of every pixel is the frame's number.
pub(crate) fn frame(number: u64) -> Frame {
    Frame::new(number * 3, number as f64 * 0.12, RgbImage::from_pixel(400, 200, Rgb([number as u8, 100, 100])))
}

pub(crate) fn frames(count: u64) -> impl Iterator<Item = Result<Frame, Broken>> + Send {
    (0..count).map(|number| Ok(frame(number)))
}

fn number_of(image: &RgbImage) -> u8 {
    image.get_pixel(0, 0).0[0]
}

/// The action of a scripted [`Detector`] or [`Classifier`] on a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    Work,
    Fail,
    Panic,
}

/// A detector that finds the same faces in every frame, and fails or panics where its script says so.
#[derive(Debug)]
pub(crate) struct Detector {
    pub(crate) faces: Vec<Face>,
    pub(crate) script: fn(u8) -> Act,
    pub(crate) batches: Mutex<Vec<usize>>,
}

impl Detector {
    pub(crate) fn of(faces: Vec<Face>) -> Self {
        Self { faces, script: |_| Act::Work, batches: Mutex::default() }
    }

    pub(crate) fn two_people() -> Self {
        Self::of(vec![face(20.0, 0.99), face(220.0, 0.99)])
    }

    pub(crate) fn scripted(self, script: fn(u8) -> Act) -> Self {
        Self { script, ..self }
    }
}

pub(crate) fn face(x: f32, confidence: f32) -> Face {
    let landmarks = [[x + 20.0, 70.0], [x + 60.0, 70.0], [x + 40.0, 90.0], [x + 25.0, 115.0], [x + 55.0, 115.0]];
    Face::new(BoundingBox::new(x, 40.0, x + 80.0, 140.0), Some(Landmarks(landmarks)), confidence)
}

impl FaceDetector for Detector {
    type Error = Broken;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Broken> {
        self.batches.lock().unwrap().push(images.len());
        for image in images {
            match (self.script)(number_of(image)) {
                Act::Work => {}
                Act::Fail => return Err(Broken(format!("no eyes for frame {}", number_of(image)))),
                Act::Panic => panic!("blinded by frame {}", number_of(image)),
            }
        }
        Ok(vec![self.faces.clone(); images.len()])
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("scripted")
    }
}

/// A classifier that scores faces by the number of the frame they were cropped from.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) score: fn(u8) -> f32,
    pub(crate) script: fn(u8) -> Act,
    pub(crate) crop: FaceCrop,
    pub(crate) reliability: Option<Reliability>,
    pub(crate) batches: Mutex<Vec<usize>>,
    pub(crate) explained: AtomicUsize,
}

impl Classifier {
    pub(crate) fn of(score: fn(u8) -> f32) -> Self {
        Self {
            score,
            script: |_| Act::Work,
            crop: FaceCrop::Box,
            reliability: None,
            batches: Mutex::default(),
            explained: AtomicUsize::new(0),
        }
    }

    pub(crate) fn scripted(self, script: fn(u8) -> Act) -> Self {
        Self { script, ..self }
    }
}

impl FaceClassifier for Classifier {
    type Error = Broken;

    fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Broken> {
        self.batches.lock().unwrap().push(faces.len());
        faces
            .iter()
            .map(|face| match (self.script)(number_of(face)) {
                Act::Work => Ok(FaceScore::new((self.score)(number_of(face)))),
                Act::Fail => Err(Broken(format!("no opinion on frame {}", number_of(face)))),
                Act::Panic => panic!("shocked by frame {}", number_of(face)),
            })
            .collect()
    }

    fn explain(&self, face: &RgbImage) -> Result<Option<ActivationMap>, Broken> {
        self.explained.fetch_add(1, Ordering::Relaxed);
        let (width, height) = face.dimensions();
        Ok(Some(ActivationMap { width, height, values: vec![0.5; (width * height) as usize] }))
    }

    fn info(&self) -> ModelInfo {
        let mut info = ModelInfo::new("scripted");
        info.crop = self.crop;
        info.reliability = self.reliability.clone();
        info
    }
}
