use std::ops::{Deref, DerefMut};

const LINE: usize = 16;

/// One cache line, which is also one AVX-512 vector.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([f32; LINE]);

/// A buffer of `f32` values that starts at a cache line, so that no SIMD vector crosses two lines.
#[derive(Debug, Clone, Default)]
pub struct Aligned {
    lines: Vec<CacheLine>,
    len: usize,
}

impl Aligned {
    /// Creates a buffer of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self { lines: vec![CacheLine([0.0; LINE]); len.div_ceil(LINE)], len }
    }

    /// Returns `len` values with unspecified contents. Grows the buffer if it is too short, and never shrinks it.
    pub fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            // Does not use `resize`, which would copy the old values although nobody needs them.
            *self = Self::default();
            *self = Self::zeros(len);
        }
        &mut self[..len]
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a `CacheLine` is sixteen `f32`s without padding, and there are at least `len` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
