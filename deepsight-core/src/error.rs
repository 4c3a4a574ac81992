/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A face could not be cut out of its frame.
    #[error("cannot cut out the face: {reason}")]
    Crop {
        /// What is wrong with the box or the landmarks.
        reason: String,
    },
}
