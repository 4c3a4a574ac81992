//! The part of [`crate::fuzzing`] that reads files of PyTorch.

use super::ForeignWeights;
use super::checkpoint::{Checkpoint, dictionaries};
use super::pickle::Pickle;
use crate::model::{MlpActivation, TransformerChoice};

/// Reads a pickle, and looks for state dicts in it. Returns whether it was readable.
pub fn pickle(bytes: &[u8]) -> bool {
    let Ok((nodes, root, length)) = Pickle::read(bytes) else { return false };
    assert!(length <= bytes.len(), "{length} of {} bytes", bytes.len());
    // An object that is not a state dict is an error here.
    let _ = dictionaries(&nodes, root);
    true
}

/// Imports the weights as those of a vision transformer, which they need not be.
fn transformer(weights: &ForeignWeights) {
    let choice = TransformerChoice { clip_activation: Some(MlpActivation::QuickGelu), ..Default::default() };
    let Ok(card) = weights.transformer_card("fuzzed", &choice) else { return };
    #[cfg(feature = "flex")]
    if let Ok(network) = card.config().init::<burn::backend::Flex>(&Default::default()) {
        let _ = weights.load_into(network);
    }
    #[cfg(not(feature = "flex"))]
    drop(card);
}

/// Reads a checkpoint, and the values of its tensors. Returns whether it was readable.
pub fn checkpoint(bytes: &[u8]) -> bool {
    // A checkpoint of an unknown network is an error here.
    if let Ok(weights) = ForeignWeights::from_bytes(bytes.to_vec()) {
        transformer(&weights);
    }
    let Ok(checkpoint) = Checkpoint::read(bytes) else { return false };
    for dictionary in 0..checkpoint.dictionaries().count() {
        let Ok(tensors) = checkpoint.tensors(dictionary) else { continue };
        for (name, tensor) in tensors {
            // A caller knows the expected shape, and refuses a wrong one before its values are read.
            let shape = checkpoint.shape(tensor);
            let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side));
            let Some(count) = count.filter(|count| *count <= 1 << 16) else { continue };
            if let Ok(weight) = checkpoint.weight(&name, tensor) {
                assert_eq!(weight.values.len(), count, "{name}");
            }
        }
    }
    true
}
