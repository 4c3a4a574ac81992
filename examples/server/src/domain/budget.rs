//! The cost of decoding a video, estimated before it is decoded.

use super::Failure;

/// Pixels that a video of any size in bytes may have. A processor core decodes about a thousand million a second.
pub(crate) const FREE_PIXELS: u64 = 4_000_000_000;

/// Limits on the pixels of all frames of a video.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeBudget {
    /// Largest number of pixels.
    pub(crate) max_pixels: u64,
    /// Largest number of pixels for each byte of the file, beyond [`FREE_PIXELS`]. Still frames take next to no bytes,
    /// but as much time to decode as any.
    pub(crate) pixels_per_byte: u64,
}

impl DecodeBudget {
    /// Checks a video of `frames` frames of `width` by `height` pixels in a file of `bytes` bytes. The estimate is that
    /// every frame is decoded once; seeking may save some, and a closer look decodes some again.
    ///
    /// # Errors
    /// Returns a failure that names the limit and the estimate.
    pub(crate) fn check(self, width: u32, height: u32, frames: u64, bytes: u64) -> Result<(), Failure> {
        let pixels = (u64::from(width) * u64::from(height)).saturating_mul(frames);
        let size = format!("Decoding {frames} frames of {width} × {height} pixels takes {pixels} pixels");
        if pixels > self.max_pixels {
            let detail = format!(
                "{size}; the limit is {}. Send a shorter or smaller video; the server's administrator can change the \
                 limit with --max-decoded-pixels.",
                self.max_pixels
            );
            return Err(Failure::over_limit("max_decoded_pixels", detail));
        }
        let allowed = bytes.saturating_mul(self.pixels_per_byte).saturating_add(FREE_PIXELS);
        if pixels > allowed {
            let detail = format!(
                "{size}; the limit for a file of {bytes} bytes is {allowed}. Send a shorter or smaller video; the \
                 server's administrator can change the limit with --max-pixels-per-byte."
            );
            return Err(Failure::over_limit("max_pixels_per_byte", detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The server's defaults.
    const DEFAULTS: DecodeBudget = DecodeBudget { max_pixels: 250_000_000_000, pixels_per_byte: 50_000 };

    #[test]
    fn videos_that_people_send_are_within_the_budget() {
        for (width, height, frames, bytes) in [
            (1920, 1080, 108_000, 100_000_000), // an hour at 30 frames a second
            (1920, 1080, 108_000, 5_000_000),   // an hour of slides
            (3840, 2160, 18_000, 100_000_000),  // five minutes of a telephone at 60 frames a second
            (7680, 4320, 1, 10_000),            // a still picture
            (640, 360, 1800, 50_000),           // a minute for a messenger
            (7680, 4320, 300, 10_000_000),      // ten seconds of 8K
        ] {
            assert!(DEFAULTS.check(width, height, frames, bytes).is_ok(), "{width} × {height}, {frames}");
        }
    }

    #[test]
    fn much_work_for_few_bytes_is_refused_with_the_limit_and_the_cure() {
        let failure = DEFAULTS.check(7680, 4320, 300, 100_000).unwrap_err();
        let detail = failure.detail();
        assert_eq!((failure.status(), failure.limit.as_deref()), (422, Some("max_pixels_per_byte")));
        for part in ["300 frames of 7680 × 4320", "9953280000", "100000 bytes", "9000000000", "--max-pixels-per-byte"]
        {
            assert!(detail.contains(part), "{part}: {detail}");
        }
    }

    #[test]
    fn more_pixels_than_any_video_may_have_are_refused() {
        let failure = DEFAULTS.check(8192, 4320, u64::MAX, u64::MAX).unwrap_err();
        let detail = failure.detail();
        assert_eq!(failure.limit.as_deref(), Some("max_decoded_pixels"));
        assert!(detail.contains("250000000000") && detail.contains("--max-decoded-pixels"), "{detail}");
    }
}
