//! A picture as augmentations work on it.

use std::cell::RefCell;

use image::RgbImage;

/// Red, green, blue in `0..=255`, not rounded; the fourth is padding that lets one pixel fill one vector register.
pub(crate) type Pixel = [f32; 4];

/// A picture in single precision. Operations write into `spare` and swap.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<Pixel>,
    pub(super) spare: Vec<Pixel>,
}

impl Picture {
    pub(crate) fn from_rgb(image: &RgbImage) -> Self {
        let mut picture = Self::empty(image.width() as usize, image.height() as usize);
        let pixels = image.as_raw().as_chunks::<3>().0.iter();
        picture.pixels.extend(pixels.map(|[r, g, b]| [f32::from(*r), f32::from(*g), f32::from(*b), 0.0]));
        picture
    }

    /// A picture of zeros.
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

    /// Width and height.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    pub(crate) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [Pixel]> {
        self.pixels.chunks_exact_mut(self.width.max(1))
    }

    /// Makes what was written to `spare` the picture.
    pub(super) fn swap(&mut self, width: usize, height: usize) {
        std::mem::swap(&mut self.pixels, &mut self.spare);
        (self.width, self.height) = (width, height);
    }

    /// All values, four to a pixel.
    pub(crate) fn values(&self) -> &[f32] {
        self.pixels.as_flattened()
    }

    /// All values, four to a pixel.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.pixels.as_flattened_mut()
    }

    /// Brings values back to what 8 bits can hold, without rounding them.
    pub(crate) fn clamp(&mut self) {
        for value in self.values_mut() {
            *value = value.clamp(0.0, 255.0);
        }
    }
}

impl Clone for Picture {
    fn clone(&self) -> Self {
        let mut copy = Self::empty(self.width, self.height);
        copy.pixels.extend_from_slice(&self.pixels);
        copy
    }
}

thread_local! {
    /// Buffers that the thread's pictures have left. A megabyte that is given back to the system and asked for again costs
    /// as much, page by page, as what is done with it.
    static BUFFERS: RefCell<Vec<Vec<Pixel>>> = const { RefCell::new(Vec::new()) };
}

/// A thread keeps no more than what one self-blended face needs, and none larger than 1024 × 1024 pixels.
const MAX_BUFFERS: usize = 12;
const MAX_BUFFER: usize = 1 << 20;

fn buffer() -> Vec<Pixel> {
    BUFFERS.try_with(|buffers| buffers.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

impl Drop for Picture {
    fn drop(&mut self) {
        for mut used in [std::mem::take(&mut self.pixels), std::mem::take(&mut self.spare)] {
            used.clear();
            // A thread that is ending has nowhere to keep it.
            let _ = BUFFERS.try_with(|buffers| {
                let mut buffers = buffers.borrow_mut();
                if (1..=MAX_BUFFER).contains(&used.capacity()) && buffers.len() < MAX_BUFFERS {
                    buffers.push(used);
                }
            });
        }
    }
}
