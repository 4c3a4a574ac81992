//! What training needs beside the layers of inference: batch statistics, the norm's and activation's way forth and back, and
//! the gradients of convolutions.
//!
//! Images are `[pixels, channels]` or `[height, width, channels]`; what is summed is added to what is there, in double precision
//! where many values come together.

mod channelwise;
mod depthwise;
mod lanes;
mod outer;

pub use channelwise::{Derivative, add_moments, affine, combine, differentiate};
pub use depthwise::{Depthwise, DepthwiseShape, Scratch};
pub use outer::add_outer;
