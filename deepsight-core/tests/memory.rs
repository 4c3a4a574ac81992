//! The fused engine's buffers are used again and again.
#![cfg(feature = "model")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use deepsight_core::Architecture;
use deepsight_core::fused::FusedEfficientNet;
use deepsight_core::fused::kernels::InstructionSet;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The system's allocator, with a count of the bytes that are out.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that are out after a thousand calls more than before them.
fn growth(network: &FusedEfficientNet, pool: &ThreadPool, images: impl Fn(usize) -> usize) -> usize {
    let call = |number| {
        let images = images(number);
        let logits = pool
            .install(|| network.forward(images, (32, 32), |_, mut canvas| canvas.rows().for_each(|row| row.fill(0.5))));
        assert!(logits.iter().all(|logit| logit.is_finite()));
    };
    // A warm-up: a new pool and a new test make buffers of their own, some of them on other threads.
    (0..200).for_each(call);
    let before = IN_USE.load(Ordering::SeqCst);
    (0..1000).for_each(call);
    IN_USE.load(Ordering::SeqCst).saturating_sub(before)
}

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

// One test and not two: the allocator counts for the whole process, in which tests run side by side.
#[test]
fn a_thousand_calls_take_no_more_memory_than_the_first() {
    #[cfg(feature = "flex")]
    type B = burn::backend::Flex;
    #[cfg(all(feature = "ndarray", not(feature = "flex")))]
    type B = burn::backend::NdArray;

    let config = Architecture::EfficientNetB0.config();
    let weights = config.init::<B>(&Default::default()).state_dict();
    let network = FusedEfficientNet::new(&config, &weights, InstructionSet::best()).unwrap();
    drop(weights);

    // One thread, so that the number of buffers out at once does not hang on its schedule.
    let one = pool(1);
    let grown = growth(&network, &one, |number| 1 + number % 3);
    assert_eq!(grown, 0, "bytes more after a thousand calls on one thread");

    // One image on two threads: its parts are spread over them, and each has a scratch while it works. The first one has
    // its full size by now; when a second one is out, and for which layer, depends on the schedule. None is larger than two
    // vectors of channels of the 16 x 16 pixels after the stem with their border, 41 KiB in AVX-512.
    const SCRATCH: usize = 48 << 10;
    let two = pool(2);
    let grown = growth(&network, &two, |_| 1);
    assert!(grown <= SCRATCH, "{grown} bytes more after a thousand calls on two threads");
}
