//! Test that the fused engine reuses its buffers.
#![cfg(feature = "model")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use deepsight_core::fused::FusedEfficientNet;
use deepsight_core::fused::InstructionSet;
use deepsight_core::model::Architecture;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The system's allocator, with a count of the allocated bytes.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::SeqCst);
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

// This is one test instead of two, because the allocator counts for the whole process, in which tests run in parallel.
#[test]
fn hundreds_of_calls_take_no_more_memory_than_the_first() {
    #[cfg(feature = "flex")]
    type B = burn::backend::Flex;
    #[cfg(all(feature = "ndarray", not(feature = "flex")))]
    type B = burn::backend::NdArray;

    let config = Architecture::EfficientNetB0.config();
    let weights = config.init::<B>(&Default::default()).state_dict();
    let network = FusedEfficientNet::new(&config, &weights, InstructionSet::best()).unwrap();
    drop(weights);

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
