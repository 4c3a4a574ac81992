//! MTCNN with all of its settings.

use deepsight::burn::backend::Flex;
use deepsight::core::{Face, FaceDetector};
use deepsight::face::{Mtcnn as Networks, MtcnnConfig};
use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::fault::OrRaise;
use crate::{pixels, pool};

/// The faces of a picture: boxes `[faces, 4]`, probabilities `[faces]`, landmarks `[faces, 5, 2]`.
type Faces<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>, Bound<'py, PyArray3<f32>>);

/// Number of pictures per thread that are searched between two checks for signals.
const PICTURES: usize = 16;

/// The networks on the processor.
#[pyclass(frozen, module = "deepsight._deepsight")]
pub(crate) struct Mtcnn(Networks<Flex>);

#[pymethods]
impl Mtcnn {
    #[new]
    fn new(py: Python<'_>, min_face_size: f32, thresholds: [f32; 3], factor: f64) -> PyResult<Self> {
        let config =
            MtcnnConfig::new().with_min_face_size(min_face_size).with_thresholds(thresholds).with_factor(factor);
        py.detach(|| config.init(&Default::default())).or_raise(py).map(Self)
    }

    /// Finds the faces of each picture, by descending probability.
    fn detect<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'_, PyList>,
        name: &str,
        several: bool,
    ) -> PyResult<Vec<Faces<'py>>> {
        let (threads, images) = (pool::threads(py)?, pixels::pictures(images, name, several)?);
        let mut found = Vec::with_capacity(images.len());
        for part in images.chunks(PICTURES * threads.count()) {
            py.check_signals()?;
            let faces = py.detach(|| {
                let part: Vec<_> = part.iter().collect();
                threads.install(|| self.0.detect(&part))
            });
            for faces in faces.or_raise(py)? {
                found.push(arrays(py, faces)?);
            }
        }
        Ok(found)
    }
}

fn arrays(py: Python<'_>, mut faces: Vec<Face>) -> PyResult<Faces<'_>> {
    // The sort is stable, so that of equal probabilities the larger face comes first.
    faces.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let count = faces.len();
    let boxes = faces.iter().flat_map(|face| <[f32; 4]>::from(face.bounding_box)).collect();
    let scores = faces.iter().map(|face| face.confidence).collect();
    let points = faces.iter().filter_map(|face| face.landmarks).flat_map(|landmarks| landmarks.0).flatten().collect();
    Ok((
        PyArray1::from_vec(py, boxes).reshape([count, 4])?,
        PyArray1::from_vec(py, scores),
        PyArray1::from_vec(py, points).reshape([count, 5, 2])?,
    ))
}
