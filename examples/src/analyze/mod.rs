//! What the `analyze` example is made of: its flags, the networks on each device, the way of one clip, and where results go.

mod args;
mod destinations;
mod failure;
mod many;
mod progress;
mod worker;

pub use args::{Args, HwAccel};
pub use destinations::{DestinationError, Destinations};
pub use failure::Failure;
pub use many::many;
pub use progress::Bars;
pub use worker::{Worker, workers};
