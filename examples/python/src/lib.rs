//! The module `deepsight._deepsight`: the detector, with NumPy arrays and Python exceptions. Users import the package
//! around it, `python/deepsight`.
//!
//! Every function that computes or waits lets other Python threads run meanwhile.
#![forbid(unsafe_code)]

mod convert;
mod detector;
mod fault;
mod frames;
mod mtcnn;
mod pixels;
mod pool;
mod process;
mod report;
mod sampling;
mod session;
mod wait;

use pyo3::prelude::*;

#[pymodule]
mod _deepsight {
    #[pymodule_export]
    use crate::convert::convert;
    #[pymodule_export]
    use crate::detector::{Analyses, Detector, devices};
    #[pymodule_export]
    use crate::frames::FrameReader;
    #[pymodule_export]
    use crate::mtcnn::Mtcnn;
    #[pymodule_export]
    use crate::pool::{get_threads, set_threads};
    #[pymodule_export]
    use crate::report::Report;
    #[pymodule_export]
    use crate::session::Session;
}
