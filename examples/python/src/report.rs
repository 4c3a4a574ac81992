//! A report for Python: JSON, HTML, and the evidence as arrays.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::fault::OrRaise;
use crate::pixels::{self, Pixels};

/// A report of an analysis.
#[pyclass(frozen, module = "deepsight._deepsight")]
pub(crate) struct Report(Arc<deepsight::Report>);

/// A face for a person to look at: track, index and time of the frame, number of the face in it, probability, pixels,
/// and the map of the evidence in it.
type Evidence<'py> = (usize, u64, f64, usize, f32, Pixels<'py>, Option<Bound<'py, PyArray2<f32>>>);

impl From<deepsight::Report> for Report {
    fn from(report: deepsight::Report) -> Self {
        Self(Arc::new(report))
    }
}

#[pymethods]
impl Report {
    /// Reads the JSON of a report.
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        Ok(deepsight::Report::from_json(text).or_raise(py)?.into())
    }

    /// Returns the report as JSON.
    fn to_json(&self, py: Python<'_>, pretty: bool) -> PyResult<String> {
        py.detach(|| if pretty { self.0.to_json_pretty() } else { self.0.to_json() }).or_raise(py)
    }

    /// Returns the report as one HTML page.
    fn to_html(&self, py: Python<'_>) -> String {
        py.detach(|| self.0.to_html())
    }

    /// Writes the HTML page to a file, in one step.
    fn write_html(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.0.write_html(&path)).or_raise(py)
    }

    /// Returns the highest-scoring faces of each person.
    fn evidence<'py>(&self, py: Python<'py>) -> PyResult<Vec<Evidence<'py>>> {
        let evidence = self.0.evidence.iter().map(|face| {
            let map = face.activation.as_ref().map(|map| {
                let shape = [map.height as usize, map.width as usize];
                PyArray1::from_slice(py, &map.values).reshape(shape)
            });
            let image = pixels::array(py, face.image.clone())?;
            Ok((face.track, face.index, face.time, face.face, face.fake_probability, image, map.transpose()?))
        });
        evidence.collect()
    }
}
