use image::RgbImage;

/// One upright image of a video with its presentation time.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Frame {
    /// Position in the video's order of presentation, from 0. Frames that were not sampled are counted too.
    pub index: u64,
    /// Presentation time in seconds from the start of the video.
    pub time: f64,
    /// Pixels, 8-bit RGB.
    pub image: RgbImage,
}

impl Frame {
    /// Creates a frame from its position, its presentation time in seconds, and its pixels.
    pub fn new(index: u64, time: f64, image: RgbImage) -> Self {
        Self { index, time, image }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.image.dimensions();
        f.debug_struct("Frame")
            .field("index", &self.index)
            .field("time", &self.time)
            .field("image", &format_args!("{width}x{height} RGB"))
            .finish()
    }
}
