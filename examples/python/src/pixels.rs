//! Converts NumPy arrays to pictures, and pictures to NumPy arrays.

use deepsight::core::{BoundingBox, Face, Landmarks};
use deepsight::image::RgbImage;
use numpy::{PyArray1, PyArray3, PyArrayMethods, PyReadonlyArray3, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::fault::Kind;

/// The pixels of a NumPy array: `[height, width, 3]`, RGB.
pub(crate) type Pixels<'py> = Bound<'py, PyArray3<u8>>;

/// Limit on the pixels of a picture, more than any camera has. Its copy has three bytes for each.
const MOST_PIXELS: u64 = 1 << 28;

/// Copies an array of any strides into a picture. `name` is the argument's name for messages.
pub(crate) fn picture(array: &Bound<'_, PyAny>, name: &str) -> PyResult<RgbImage> {
    let py = array.py();
    let refused = |message: String| Kind::Array.exception(py, message);
    let Ok(untyped) = array.cast::<PyUntypedArray>() else {
        let kind = array.get_type().name()?;
        return Err(refused(format!("{name} is a {kind}: a NumPy array [height, width, 3] of uint8 is needed")));
    };
    let shape = untyped.shape();
    if !(shape.len() == 3 && shape[2] == 3) {
        let cure = match shape {
            [_, _] => "; a grey picture becomes RGB by numpy.repeat(picture[..., None], 3, axis=2)",
            [_, _, 4] => "; drop the fourth channel with picture[..., :3]",
            [3, _, _] => "; the channels come last: picture.transpose(1, 2, 0)",
            _ => "",
        };
        return Err(refused(format!("{name} has shape {shape:?}: [height, width, 3] is needed{cure}")));
    }
    let Ok(typed) = array.extract::<PyReadonlyArray3<'_, u8>>() else {
        let dtype = untyped.dtype();
        let cure = "; values of 0 to 255 become so by picture.astype(numpy.uint8), of 0 to 1 by (255 * \
                    picture).round().astype(numpy.uint8)";
        return Err(refused(format!("{name} has dtype {dtype}: uint8 is needed{cure}")));
    };
    let size = |length: usize| {
        u32::try_from(length).map_err(|_| refused(format!("{name} has a side of {length} pixels: it is too long")))
    };
    let (height, width) = (size(shape[0])?, size(shape[1])?);
    // An array that repeats one pixel with its strides may have any size.
    if u64::from(height) * u64::from(width) > MOST_PIXELS {
        return Err(refused(format!("{name} has {width} x {height} pixels: at most {MOST_PIXELS} can be used")));
    }
    let view = typed.as_array();
    let pixels = match view.as_slice() {
        Some(pixels) => pixels.to_vec(),
        None => view.iter().copied().collect(),
    };
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| refused(format!("{name} has too few values")))
}

/// Copies a list of arrays into pictures. `several` is whether the argument `name` is a list, and not one picture.
pub(crate) fn pictures(arrays: &Bound<'_, PyList>, name: &str, several: bool) -> PyResult<Vec<RgbImage>> {
    let named = |index| if several { format!("{name}[{index}]") } else { name.to_owned() };
    arrays.iter().enumerate().map(|(index, array)| picture(&array, &named(index))).collect()
}

/// Moves the pixels of a picture to NumPy, without a copy.
pub(crate) fn array(py: Python<'_>, picture: RgbImage) -> PyResult<Pixels<'_>> {
    let (width, height) = picture.dimensions();
    PyArray1::from_vec(py, picture.into_raw()).reshape([height as usize, width as usize, 3])
}

/// Returns the face of its box and landmarks.
pub(crate) fn face(bounds: [f32; 4], landmarks: Option<[[f32; 2]; 5]>) -> Face {
    Face::new(BoundingBox::from(bounds), landmarks.map(Landmarks), 1.0)
}
