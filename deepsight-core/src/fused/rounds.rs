use rayon::prelude::*;

/// Whether the threads work together on an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Work {
    Alone,
    Together,
}

/// Computes the logits of `images` images, `classes` each. Calls `one` with the index and the place for the logits of
/// each image.
///
/// Images are computed in rounds, one image per thread. If fewer images than threads remain, all threads work together
/// on each of them, one image after the other.
pub(super) fn in_rounds(images: usize, classes: usize, one: impl Fn(usize, &mut [f32], Work) + Sync) -> Vec<f32> {
    let mut logits = vec![0.0; images * classes];
    let threads = rayon::current_num_threads();
    let rounds = images / threads * threads;
    let (alone, together) = logits.split_at_mut(rounds * classes);
    let alone = alone.par_chunks_mut(classes).with_max_len(1).enumerate();
    alone.for_each(|(image, logits)| one(image, logits, Work::Alone));
    for (image, logits) in together.chunks_mut(classes).enumerate() {
        one(rounds + image, logits, Work::Together);
    }
    logits
}
