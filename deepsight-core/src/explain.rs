/// Where in a face the evidence for a forgery lies: a map over the face's pixels.
///
/// Class activation mapping (Zhou et al., CVPR 2016) of the fake class.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationMap {
    /// Width in pixels; the width of the explained face.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Row by row, `width × height` values in `0..=1`; 1 speaks most for a forgery.
    pub values: Vec<f32>,
}
