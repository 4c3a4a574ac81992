//! The fused engine's buffers are used again and again.
#![cfg(feature = "model")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use deepsight_core::Architecture;
use deepsight_core::fused::FusedEfficientNet;
use deepsight_core::fused::kernels::InstructionSet;

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
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let call = |images| {
        let logits = pool
            .install(|| network.forward(images, (32, 32), |_, mut canvas| canvas.rows().for_each(|row| row.fill(0.5))));
        assert!(logits.iter().all(|logit| logit.is_finite()));
    };
    call(1);
    call(3);
    let before = IN_USE.load(Ordering::SeqCst);
    for number in 0..1000 {
        call(1 + number % 3);
    }
    let after = IN_USE.load(Ordering::SeqCst);
    assert!(after <= before, "{} bytes more after a thousand calls", after - before);
}
