//! The kernels that training needs in addition to the layers of inference: batch statistics, the forward and backward
//! passes of batch norms and activations, and the gradients of convolutions.
//!
//! Images are `[pixels, channels]` or `[height, width, channels]`. Sums are added to the existing values of their
//! output, in double precision where many values are summed.

mod channelwise;
mod depthwise;
mod lanes;
mod outer;

pub use channelwise::{Derivative, add_moments, affine, combine, differentiate};
pub use depthwise::{Depthwise, DepthwiseShape, Scratch};
pub use outer::add_outer;
