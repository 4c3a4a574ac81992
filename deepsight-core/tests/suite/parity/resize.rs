//! Tests of the resize filters against OpenCV and PIL.

use deepsight_core::image::{self, RgbImage};
use deepsight_core::model::ResizeFilter;
use serde_json::Value;

use super::uniform::uniform;

/// Creates an image of noise over a slope, as `resize.py` does.
fn picture(width: u32, height: u32) -> RgbImage {
    let noise = uniform(&format!("{width}x{height}"), (width * height * 3) as usize);
    let value = |(index, noise): (usize, &f32)| {
        let slope = index / 3 % width as usize * 127 / width as usize;
        ((f64::from(*noise) + 1.0) * 64.0) as u8 + slope as u8
    };
    RgbImage::from_raw(width, height, noise.iter().enumerate().map(value).collect()).unwrap()
}

/// Computes CRC-32 as zlib does.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

fn equals_the_reference(filter: ResizeFilter, name: &str) {
    let expected: Value = serde_json::from_str(include_str!("resize.json")).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let [width, height, side] = ["width", "height", "side"].map(|key| case[key].as_u64().unwrap() as u32);
        let resized = filter.resize(&picture(width, height), side, side);
        let first: Vec<u8> = serde_json::from_value(case[name]["first"].clone()).unwrap();
        assert_eq!(resized.as_raw()[..first.len()], first, "{width} x {height} to {side}");
        assert_eq!(Value::from(crc32(resized.as_raw())), case[name]["crc32"], "{width} x {height} to {side}");
    }
}

#[test]
fn opencv_bilinear_equals_opencv_bit_for_bit() {
    equals_the_reference(ResizeFilter::OpencvBilinear, "opencv_bilinear");
}

#[test]
fn pil_bilinear_equals_pil_bit_for_bit() {
    equals_the_reference(ResizeFilter::PilBilinear, "pil_bilinear");
}

#[test]
fn pil_bicubic_equals_pil_bit_for_bit() {
    equals_the_reference(ResizeFilter::PilBicubic, "pil_bicubic");
}

#[test]
fn opencv_padded_equals_opencv_bit_for_bit() {
    equals_the_reference(ResizeFilter::OpencvPadded, "opencv_padded");
}

#[test]
fn a_strip_too_thin_to_keep_its_shape_becomes_black() {
    let resized = ResizeFilter::OpencvPadded.resize(&RgbImage::from_pixel(1000, 1, image::Rgb([255; 3])), 32, 32);
    assert_eq!(resized, RgbImage::new(32, 32));
}
