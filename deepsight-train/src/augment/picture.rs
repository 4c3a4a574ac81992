//! The picture format that augmentations work on.

use std::cell::RefCell;

use image::RgbImage;

/// Red, green and blue in `0..=255`, not rounded. The fourth value is padding, so that one pixel fills one vector
/// register.
pub(crate) type Pixel = [f32; 4];

/// A picture in single precision. Operations write their result to `spare` and then swap it with `pixels`.
#[derive(Debug)]
pub(crate) struct FloatPicture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<Pixel>,
    pub(super) spare: Vec<Pixel>,
}

impl FloatPicture {
    pub(crate) fn from_rgb(image: &RgbImage) -> Self {
        let mut picture = Self::empty(image.width() as usize, image.height() as usize);
        let pixels = image.as_raw().as_chunks::<3>().0.iter();
        picture.pixels.extend(pixels.map(|[r, g, b]| [f32::from(*r), f32::from(*g), f32::from(*b), 0.0]));
        picture
    }

    /// Creates a picture of zeros.
    pub(crate) fn filled(width: usize, height: usize) -> Self {
        let mut picture = Self::empty(width, height);
        picture.pixels.resize(width * height, Pixel::default());
        picture
    }

    fn empty(width: usize, height: usize) -> Self {
        Self { width, height, pixels: buffer(), spare: buffer() }
    }

    pub(crate) fn to_rgb(&self) -> RgbImage {
        let mut image = RgbImage::new(self.width as u32, self.height as u32);
        for (out, pixel) in image.as_chunks_mut::<3>().0.iter_mut().zip(&self.pixels) {
            let rounded = pixel.map(|value| (value.clamp(0.0, 255.0) + 0.5) as i32 as u8);
            *out = [rounded[0], rounded[1], rounded[2]];
        }
        image
    }

    /// Returns width and height.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [Pixel]> {
        self.pixels.chunks_exact_mut(self.width.max(1))
    }

    /// Swaps `spare` with the pixels, after an operation has written a picture of that size to it.
    pub(super) fn swap(&mut self, width: usize, height: usize) {
        std::mem::swap(&mut self.pixels, &mut self.spare);
        (self.width, self.height) = (width, height);
    }

    /// Returns all values, four to a pixel.
    pub(crate) fn values(&self) -> &[f32] {
        self.pixels.as_flattened()
    }

    /// Returns all values, four to a pixel.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.pixels.as_flattened_mut()
    }

    /// Limits values to `0..=255`, without rounding them.
    pub(crate) fn clamp(&mut self) {
        for value in self.values_mut() {
            *value = value.clamp(0.0, 255.0);
        }
    }
}

impl Clone for FloatPicture {
    fn clone(&self) -> Self {
        let mut copy = Self::empty(self.width, self.height);
        copy.pixels.extend_from_slice(&self.pixels);
        copy
    }
}

thread_local! {
    /// Buffers of dropped pictures, which the thread uses again. Returning a megabyte to the system and allocating it
    /// again costs as much, page by page, as the operation that uses it.
    static BUFFERS: RefCell<Vec<Vec<Pixel>>> = const { RefCell::new(Vec::new()) };
}

/// Limits of the buffers that a thread keeps: their number is what one self-blended face needs, and each has at most
/// 1024 × 1024 pixels.
const MAX_BUFFERS: usize = 12;
const MAX_BUFFER: usize = 1 << 20;

fn buffer() -> Vec<Pixel> {
    BUFFERS.try_with(|buffers| buffers.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

impl Drop for FloatPicture {
    fn drop(&mut self) {
        for mut used in [std::mem::take(&mut self.pixels), std::mem::take(&mut self.spare)] {
            used.clear();
            // Fails in a thread that is ending, which cannot keep the buffer.
            let _ = BUFFERS.try_with(|buffers| {
                let mut buffers = buffers.borrow_mut();
                if (1..=MAX_BUFFER).contains(&used.capacity()) && buffers.len() < MAX_BUFFERS {
                    buffers.push(used);
                }
            });
        }
    }
}
