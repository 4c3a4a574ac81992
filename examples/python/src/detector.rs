//! The networks on a device: whole files, single pictures, and faces.

use std::path::PathBuf;
use std::sync::Arc;

use deepsight::{AnalyzerConfig, CancelToken, DecodeOptions, Device, Job};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::fault::{self, Kind, OrRaise};
use crate::pixels::{self, Pixels};
use crate::process::OfProcess;
use crate::report::Report;
use crate::sampling::Choice;
use crate::session::Session;
use crate::{pool, wait};

/// Number of faces per thread that are scored between two checks for signals.
const FACES: usize = 128;

/// The networks on a device.
#[pyclass(frozen, module = "deepsight._deepsight")]
pub(crate) struct Detector(deepsight::Detector);

impl Detector {
    /// Returns the detector on the threads of this process.
    fn here(&self, py: Python<'_>) -> PyResult<deepsight::Detector> {
        Ok(self.0.with_threads(pool::threads(py)?))
    }
}

#[pymethods]
impl Detector {
    #[new]
    #[pyo3(signature = (models, device, min_face_size, threshold))]
    fn new(
        py: Python<'_>,
        models: Vec<PathBuf>,
        device: &str,
        min_face_size: u32,
        threshold: Option<f32>,
    ) -> PyResult<Self> {
        let device: Device = device.parse::<Device>().or_raise(py)?;
        let config = threshold.map_or_else(AnalyzerConfig::new, |value| AnalyzerConfig::new().with_threshold(value));
        let builder = deepsight::Detector::builder().device(device).min_face_size(min_face_size).analyzer(config);
        let builder = if models.is_empty() { builder } else { builder.models(models) };
        let threads = pool::threads(py)?;
        // Inside the pool, because the builder would use the global one, which does not survive a fork.
        let built = wait::run(py, &CancelToken::new(), None, move |_| threads.install(|| builder.build()));
        built?.or_raise(py).map(Self)
    }

    /// Analyzes a file.
    fn analyze(
        &self,
        py: Python<'_>,
        path: PathBuf,
        sampling: Choice,
        max_duration: Option<u64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Report> {
        let detector = self.here(py)?.with_sampling(sampling.fixed()).with_decoding(decoding(max_duration));
        let cancel = CancelToken::new();
        let token = cancel.clone();
        let analysis = wait::run(py, &cancel, progress.as_ref(), move |events| {
            let job = Job::new().with_cancel(token).with_progress(|progress| {
                // The receiver is dropped after an exception.
                let _ = events.send(*progress);
            });
            detector.analyze_job(&path, job)
        });
        Ok(analysis?.or_raise(py)?.into())
    }

    /// Analyzes files, `jobs` at a time.
    fn analyze_many(
        &self,
        py: Python<'_>,
        paths: Vec<PathBuf>,
        jobs: usize,
        sampling: Choice,
        max_duration: Option<u64>,
    ) -> PyResult<Analyses> {
        let detector = self.here(py)?.with_sampling(sampling.fixed()).with_decoding(decoding(max_duration));
        let analyses = detector.analyze_many(paths, jobs);
        Ok(Analyses { cancel: analyses.cancel_token(), inner: Arc::new(OfProcess::new(analyses)) })
    }

    /// Analyzes one picture.
    fn analyze_image(&self, py: Python<'_>, image: &Bound<'_, PyAny>) -> PyResult<Report> {
        let (detector, image) = (self.here(py)?, pixels::picture(image, "image")?);
        Ok(py.detach(|| detector.analyze_image(&image)).or_raise(py)?.into())
    }

    /// Starts a session.
    fn session(&self, py: Python<'_>, source: &str, deadline: Option<f64>) -> PyResult<Session> {
        Session::start(py, &self.here(py)?, source, deadline)
    }

    /// Finds the faces of a picture, largest first, and returns them as JSON.
    fn faces(&self, py: Python<'_>, image: &Bound<'_, PyAny>) -> PyResult<String> {
        let (detector, image) = (self.here(py)?, pixels::picture(image, "image")?);
        let faces = py.detach(|| detector.faces(&image)).or_raise(py)?;
        serde_json::to_string(&faces).map_err(|error| Kind::Report.exception(py, error.to_string()))
    }

    /// Cuts out a face in the model's crop.
    fn crop<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'_, PyAny>,
        bounds: [f32; 4],
        landmarks: Option<[[f32; 2]; 5]>,
    ) -> PyResult<Pixels<'py>> {
        let (image, face) = (pixels::picture(image, "image")?, pixels::face(bounds, landmarks));
        let crop = py.detach(|| self.0.cut(&image, &face)).or_raise(py)?;
        pixels::array(py, crop)
    }

    /// Scores faces.
    fn score<'py>(
        &self,
        py: Python<'py>,
        faces: &Bound<'_, PyList>,
        name: &str,
        several: bool,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let (detector, faces) = (self.here(py)?, pixels::pictures(faces, name, several)?);
        let mut scores = Vec::with_capacity(faces.len());
        for part in faces.chunks(FACES * pool::threads(py)?.count()) {
            py.check_signals()?;
            let found = py.detach(|| detector.score(part)).or_raise(py)?;
            scores.extend(found.iter().map(|score| score.fake_probability));
        }
        Ok(PyArray1::from_vec(py, scores))
    }

    /// Computes where in a face the evidence lies.
    fn explain<'py>(&self, py: Python<'py>, face: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (detector, face) = (self.here(py)?, pixels::picture(face, "face")?);
        let map = py.detach(|| detector.explain(&face)).or_raise(py)?;
        let map = map.ok_or_else(|| Kind::Analysis.exception(py, "the model gives no activation maps"))?;
        PyArray1::from_vec(py, map.values).reshape([map.height as usize, map.width as usize])
    }

    /// Returns the description of the model as JSON.
    fn model(&self, py: Python<'_>) -> PyResult<String> {
        serde_json::to_string(&self.0.model()).map_err(|error| Kind::Model.exception(py, error.to_string()))
    }

    /// Returns the name of the device.
    fn device(&self) -> String {
        self.0.device().to_string()
    }
}

/// Returns the settings for decoding, with the limit on the length of a video in seconds.
pub(crate) fn decoding(max_duration: Option<u64>) -> DecodeOptions {
    let options = DecodeOptions::default();
    match max_duration {
        Some(seconds) => {
            let limits = options.limits.clone().with_max_duration_seconds(seconds);
            options.with_limits(limits)
        }
        None => options,
    }
}

/// Returns the names of the devices that this build knows and that work on this machine.
#[pyfunction]
pub(crate) fn devices(py: Python<'_>) -> Vec<String> {
    py.detach(|| Device::available().iter().map(ToString::to_string).collect())
}

/// The results of `analyze_many`, as they are ready.
#[pyclass(frozen, module = "deepsight._deepsight")]
pub(crate) struct Analyses {
    inner: Arc<OfProcess<deepsight::Analyses>>,
    cancel: CancelToken,
}

#[pymethods]
impl Analyses {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// Returns the path, and the report or the exception; `None` at the end.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(PathBuf, Py<PyAny>)>> {
        self.inner.check(py, "an iterator of analyses")?;
        let inner = Arc::clone(&self.inner);
        let next = wait::run(py, &self.cancel, None, move |_| {
            inner.with(|analyses| analyses.as_mut().and_then(Iterator::next))
        });
        let Some((path, result)) = next? else { return Ok(None) };
        let result = match result {
            Ok(report) => Py::new(py, Report::from(report))?.into_any(),
            Err(error) => fault::exception(py, &error).into_value(py).into_any(),
        };
        Ok(Some((path, result)))
    }

    /// Cancels the unfinished analyses, and waits a moment for their end.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.check(py, "an iterator of analyses")?;
        self.cancel.cancel();
        let inner = Arc::clone(&self.inner);
        wait::briefly(py, move || drop(inner.with(Option::take)))
    }
}
