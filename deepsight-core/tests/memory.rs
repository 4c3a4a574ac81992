//! Test that the fused engine reuses its buffers, and that memory holds the weights of a loaded model once.
#![cfg(feature = "model")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::backend::Backend;
use deepsight_core::fused::{FusedEfficientNet, InstructionSet};
use deepsight_core::model::{Architecture, ModelCard, ModelFile};
use deepsight_core::{Classifier, Engine};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The system's allocator, with a count of the allocated bytes.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = IN_USE.fetch_add(layout.size(), Ordering::SeqCst);
        PEAK.fetch_max(before + layout.size(), Ordering::SeqCst);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns how many more bytes are allocated after two hundred calls than before them.
fn growth(network: &FusedEfficientNet, pool: &ThreadPool, images: impl Fn(usize) -> usize) -> usize {
    let call = |number| {
        let images = images(number);
        let logits = pool
            .install(|| network.forward(images, (32, 32), |_, mut canvas| canvas.rows().for_each(|row| row.fill(0.5))));
        assert!(logits.iter().all(|logit| logit.is_finite()));
    };
    // Warms up first: a new pool and a new test allocate buffers of their own, some of them on other threads.
    (0..100).for_each(call);
    let before = IN_USE.load(Ordering::SeqCst);
    (0..200).for_each(call);
    IN_USE.load(Ordering::SeqCst).saturating_sub(before)
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Asserts that loading a model file needs memory for its weights once, not for a copy of the file or of the network.
fn a_loaded_model_is_in_memory_once<B: Backend>(model: &ModelFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.write(&path).unwrap();
    let weights: usize = model.weights.values().map(|weight| 4 * weight.values.len()).sum();
    let before = IN_USE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let classifier = Classifier::<B>::load(&path, &Default::default()).unwrap();
    let peak = PEAK.load(Ordering::SeqCst) - before;
    assert_eq!(classifier.engine(), Engine::Fused);
    assert!(peak < weights * 3 / 2, "{peak} bytes at most for {weights} bytes of weights");
    assert!(classifier.network().unwrap().state_dict() == model.weights);
}

// This is one test instead of three, because the allocator counts for the whole process, in which tests run in
// parallel.
#[test]
fn calls_reuse_their_buffers_and_weights_are_in_memory_once() {
    #[cfg(feature = "flex")]
    type B = burn::backend::Flex;
    #[cfg(all(feature = "ndarray", not(feature = "flex")))]
    type B = burn::backend::NdArray;

    let config = Architecture::EfficientNetB0.config();
    let weights = config.init::<B>(&Default::default()).state_dict();
    let network = FusedEfficientNet::new(&config, &weights, InstructionSet::best()).unwrap();
    let model = ModelFile::new(ModelCard::new("b0", Architecture::EfficientNetB0), weights).unwrap();
    a_loaded_model_is_in_memory_once::<B>(&model);
    drop(model);

    // With one thread, the number of buffers in use at once does not depend on the schedule.
    let one = pool(1);
    let grown = growth(&network, &one, |number| 1 + number % 3);
    assert_eq!(grown, 0, "bytes more after two hundred calls on one thread");

    // With one image on two threads, its parts are spread over both, and each thread uses a scratch buffer while it
    // works. The first scratch has its full size by now. When a second one is used, and for which layer, depends on the
    // schedule. None is larger than two vectors of channels of the 16 x 16 pixels after the stem with their border, 41
    // KiB in AVX-512.
    const SCRATCH: usize = 48 << 10;
    let two = pool(2);
    let grown = growth(&network, &two, |_| 1);
    assert!(grown <= SCRATCH, "{grown} bytes more after two hundred calls on two threads");
}
