//! The tests of `deepsight-face` through its public interface, in one program, because each program links Burn anew.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "flex")]
mod detect;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod parity;

/// Returns a photograph of `tests/photos`.
#[cfg(any(feature = "flex", feature = "ndarray"))]
fn photo(name: &str) -> image::RgbImage {
    image::open(format!("{}/tests/photos/{name}.png", env!("CARGO_MANIFEST_DIR"))).unwrap().into_rgb8()
}
