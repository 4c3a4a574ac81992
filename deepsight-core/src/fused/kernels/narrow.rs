use super::instruction_set::InstructionSet;
use super::simd::{Kernel, Simd};

/// Rounds values to `bf16`, two to a word of `words`, as [`Pointwise::in_bf16`](super::Pointwise::in_bf16) reads them. With
/// `factors`, one vector of them, every vector of values is multiplied by it before.
///
/// # Panics
/// When there are not half as many words as values, the factors are not one vector, or the instruction set has no `bf16`.
pub fn narrow(set: InstructionSet, values: &[f32], factors: Option<&[f32]>, words: &mut [f32]) {
    assert!(set.has_pairs(), "{set} has no bf16");
    assert_eq!(values.len(), 2 * words.len(), "values for {} words", words.len());
    assert!(factors.is_none_or(|factors| factors.len() == set.lanes()), "factors of one vector");
    match factors {
        Some(factors) => set.run(Narrow { values, factors, words }),
        None => set.run(Narrow { values, factors: &[1.0; 16], words }),
    }
}

struct Narrow<'a> {
    values: &'a [f32],
    factors: &'a [f32],
    words: &'a mut [f32],
}

impl Kernel for Narrow<'_> {
    type Output = ();
    const PAIRS: bool = true;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if !S::PAIRS {
            return;
        }
        let half = S::LANES / 2;
        assert!(self.factors.len() >= S::LANES);
        // SAFETY: there is a vector of factors.
        let factors = unsafe { simd.load(self.factors.as_ptr()) };
        let (values, rest) = self.values.split_at(self.values.len() / S::LANES * S::LANES);
        let (words, last) = self.words.split_at_mut(values.len() / 2);
        for (values, words) in values.chunks_exact(S::LANES).zip(words.chunks_exact_mut(half)) {
            // SAFETY: a vector of values, and half as many words.
            unsafe { simd.narrow(words.as_mut_ptr(), simd.mul(factors, simd.load(values.as_ptr()))) };
        }
        if !rest.is_empty() {
            let mut whole = [0.0; 8];
            // SAFETY: fewer values than a vector, and room for half of the largest vector.
            unsafe { simd.narrow(whole.as_mut_ptr(), simd.mul(factors, simd.load_first(rest.as_ptr(), rest.len()))) };
            last.copy_from_slice(&whole[..last.len()]);
        }
    }
}
