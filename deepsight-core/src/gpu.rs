//! Support for networks on a GPU: uploads of few bytes, matrix products that keep single precision, and batches that
//! fit into memory.
//!
//! Everything consists of Burn's operations, so it runs, and is tested, on every backend.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d as burn_conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, ElementConversion, Int, Tensor, TensorData};

use crate::Error;

/// Returns whether this device of the backend is the CPU.
pub fn is_cpu<B: Backend>(device: &B::Device) -> bool {
    // By name, because nothing in a backend's type says so.
    let name = B::name(device);
    ["flex", "ndarray"].iter().any(|cpu| name.contains(cpu))
}

/// Uploads bytes to a device as numbers `0..=255`, `[bytes]`. Zeros are appended up to a multiple of 4.
///
/// Four bytes are sent in each 32-bit integer and separated on the device. This takes a quarter of the bytes of single
/// precision, and backends need no 8-bit type.
pub fn upload<B: Backend>(mut bytes: Vec<u8>, device: &B::Device) -> Tensor<B, 1, Int> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let words: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
    let count = words.len();
    let words = Tensor::<B, 2, Int>::from_data(TensorData::new(words, [count, 1]), (device, DType::I32));
    // The mask removes the sign bits that the shift inserts.
    let byte = |place: i32| words.clone().bitwise_right_shift_scalar((8 * place).elem()).bitwise_and_scalar(255.elem());
    Tensor::cat([0, 1, 2, 3].map(byte).into(), 1).flatten(0, 1)
}

/// Converts consecutive RGB images of one size to a network's input, `[count, 3, height, width]`. Scales values to
/// `0..=1`, subtracts the mean and divides by the standard deviation of each channel, on the device.
///
/// # Panics
/// Panics if `pixels.len() != 3 * count * height * width`.
pub fn normalized<B: Backend>(
    pixels: Vec<u8>,
    [count, height, width]: [usize; 3],
    mean: [f32; 3],
    std: [f32; 3],
    device: &B::Device,
) -> Tensor<B, 4> {
    let values = 3 * count * height * width;
    assert_eq!(pixels.len(), values, "bytes of {count} pictures of {width} x {height} pixels");
    let channels = |values: [f32; 3]| Tensor::<B, 1>::from_data(TensorData::from(values), (device, DType::F32));
    let scale = channels(std.map(|std| 1.0 / (255.0 * std))).reshape([1, 1, 1, 3]);
    let shift = channels(std::array::from_fn(|channel| -mean[channel] / std[channel])).reshape([1, 1, 1, 3]);
    let pixels = upload::<B>(pixels, device).narrow(0, 0, values).reshape([count, height, width, 3]);
    let pixels = pixels.cast(burn::tensor::FloatDType::F32);
    (pixels * scale + shift).permute([0, 3, 1, 2])
}

/// Returns whether the device computes single-precision products from rounded operands. NVIDIA's matrix units round
/// them to TF32, 11 significant bits, and autotune prefers those units.
pub fn rounds_products<B: Backend>(device: &B::Device) -> bool {
    // By name, because nothing in a backend's type says so.
    B::name(device).contains("cuda")
}

/// Computes a convolution with all digits of its type. On devices that round operands ([`rounds_products`]), single
/// precision is split as in [`split_conv2d`]. Convolutions with groups are not split, because depthwise ones do not use
/// the matrix units.
pub fn conv2d<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: ConvOptions<2>,
) -> Tensor<B, 4> {
    if x.dtype() == DType::F32 && options.groups == 1 && rounds_products::<B>(&x.device()) {
        split_conv2d(x, weight, bias, options)
    } else {
        burn_conv2d(x, weight, bias, options)
    }
}

/// Computes a convolution as the sum of three, whose operands are the upper and the lower digits of the original ones.
/// When each operand is rounded to 11 significant bits, the error of a product is 2⁻¹⁸ instead of 2⁻¹¹ (Ootomo &
/// Yokota, IJHPCA 2022, with `bf16` for the upper half).
pub fn split_conv2d<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: ConvOptions<2>,
) -> Tensor<B, 4> {
    let ((x_upper, x_lower), (weight_upper, weight_lower)) = (split(x), split(weight));
    let small = burn_conv2d(x_lower, weight_upper.clone(), None, options.clone())
        + burn_conv2d(x_upper.clone(), weight_lower, None, options.clone());
    burn_conv2d(x_upper, weight_upper, bias, options) + small
}

/// Computes a matrix product with all digits of its type, as [`conv2d`] does.
pub fn matmul<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    if a.dtype() == DType::F32 && rounds_products::<B>(&a.device()) { split_matmul(a, b) } else { a.matmul(b) }
}

/// Computes a matrix product as the sum of three, as [`split_conv2d`] does.
pub fn split_matmul<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    let ((a_upper, a_lower), (b_upper, b_lower)) = (split(a), split(b));
    let small = a_lower.matmul(b_upper.clone()) + a_upper.clone().matmul(b_lower);
    a_upper.matmul(b_upper) + small
}

/// Splits each number into its 8 leading significant bits and the rest.
fn split<B: Backend, const D: usize>(x: Tensor<B, D>) -> (Tensor<B, D>, Tensor<B, D>) {
    let upper = x.clone().cast(DType::BF16).cast(DType::F32);
    (upper.clone(), x - upper)
}

/// The limit on the batch size on a device. When the device fails, most likely because its memory is full, the limit is
/// halved once and permanently, and the run continues with a warning in the log.
#[derive(Debug)]
pub struct BatchLimit {
    size: AtomicUsize,
    halved: AtomicBool,
}

impl BatchLimit {
    /// Creates a limit of `size`, at least 1.
    pub fn new(size: usize) -> Self {
        Self { size: AtomicUsize::new(size.max(1)), halved: AtomicBool::new(false) }
    }

    /// Returns the current limit.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Runs `call` on the items in batches up to the limit; `what` names the items in the warning. `recover` is called
    /// before a failed batch is tried again in smaller ones.
    ///
    /// # Errors
    /// The error of `call` for a single item, for a batch after the limit was halved, or for one that is not the
    /// device's failure. A panic of `call` counts as an error.
    pub fn run<T, R, E: Failed>(
        &self,
        what: &str,
        items: &[T],
        recover: impl Fn(),
        call: impl Fn(&[T]) -> Result<Vec<R>, E>,
    ) -> Result<Vec<R>, E> {
        let call = |items: &[T]| {
            let outcome = catch_unwind(AssertUnwindSafe(|| call(items)));
            outcome.unwrap_or_else(|panic| Err(E::panicked(&crate::panics::panic_message(panic.as_ref()))))
        };
        let mut results = Vec::with_capacity(items.len());
        let mut rest = items;
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(self.size().min(rest.len()));
            match call(batch) {
                Ok(batch) => {
                    results.extend(batch);
                    rest = behind;
                }
                Err(error) if batch.len() > 1 && error.is_of_device() && self.halve(batch.len()) => {
                    let size = self.size();
                    log::warn!("the device failed on {} {what} at once: {error}; going on with {size}", batch.len());
                    recover();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(results)
    }

    /// Halves the size of a failed batch and makes it the limit, unless the limit was halved before. Returns whether
    /// the batch may be tried again, which also holds if it is larger than a limit that was halved in the meantime.
    fn halve(&self, failed: usize) -> bool {
        if !self.halved.swap(true, Ordering::Relaxed) {
            self.size.store((failed / 2).max(1), Ordering::Relaxed);
            return true;
        }
        failed > self.size()
    }
}

/// Errors of code that runs on a device.
pub trait Failed: std::fmt::Display {
    /// Returns whether the device failed. Otherwise the input was refused.
    fn is_of_device(&self) -> bool;

    /// Creates the error for a panic with this message.
    fn panicked(message: &str) -> Self;
}

impl Failed for Error {
    fn is_of_device(&self) -> bool {
        matches!(self, Self::Backend { .. })
    }

    fn panicked(message: &str) -> Self {
        Self::Backend { reason: device_message(message) }
    }
}

/// Formats a backend's message about a failure on one line, without backtraces. If memory is the cause, adds advice.
pub fn device_message(message: &str) -> String {
    let told = message.lines().map(str::trim).take_while(|line| !line.starts_with("Backtrace"));
    let told: Vec<&str> = told.filter(|line| !line.is_empty()).take(6).collect();
    let told = told.join(" ");
    let lower = told.to_lowercase();
    let signs = ["out of memory", "out-of-memory", "out_of_memory", "can't allocate buffer", "not enough memory"];
    if signs.iter().any(|sign| lower.contains(sign)) {
        return format!("its memory is full ({told}); take smaller batches, or end what else uses the device");
    }
    told
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::RefCell;

    use super::*;

    /// Returns a call that panics for more than `capacity` items, and records the size of each batch in `calls`.
    fn device(capacity: usize, calls: &RefCell<Vec<usize>>) -> impl Fn(&[u8]) -> Result<Vec<u8>, Error> {
        move |items| {
            calls.borrow_mut().push(items.len());
            match items.len() {
                taken if taken > capacity => panic!("can't allocate buffer of size: 4096\nBacktrace\n0: somewhere"),
                _ => Ok(items.to_vec()),
            }
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_halved_once_and_the_run_continues() {
        let items: Vec<u8> = (0..20).collect();
        let (limit, calls) = (BatchLimit::new(8), RefCell::default());
        assert_eq!(limit.run("faces", &items, || {}, device(4, &calls)).unwrap(), items);
        assert_eq!((limit.size(), calls.take()), (4, vec![8, 4, 4, 4, 4, 4]));
        // The limit stays halved: no batch fails again.
        assert_eq!(limit.run("faces", &items[..6], || {}, device(4, &calls)).unwrap(), items[..6]);
        assert_eq!(calls.take(), [4, 2]);
    }

    #[test]
    fn a_failure_of_half_the_batch_is_an_error_on_one_line() {
        let (limit, calls) = (BatchLimit::new(8), RefCell::default());
        let error = limit.run("faces", &[0; 20], || {}, device(3, &calls)).unwrap_err().to_string();
        assert!(error.contains("memory is full") && error.contains("size: 4096"), "{error}");
        assert!(!error.contains('\n') && !error.contains("somewhere"), "{error}");
        assert_eq!(calls.take(), [8, 4]);
    }

    #[test]
    fn an_error_of_the_input_is_not_tried_again() {
        let calls = RefCell::new(0);
        let refuse = |_: &[u8]| {
            *calls.borrow_mut() += 1;
            Err::<Vec<u8>, _>(Error::NoFrames)
        };
        assert!(BatchLimit::new(8).run("faces", &[0; 4], || {}, refuse).is_err());
        assert_eq!(*calls.borrow(), 1);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn bytes_arrive_as_they_were_sent() {
        let bytes: Vec<u8> = (0..=255).chain([7, 200, 255]).collect();
        let values = upload::<burn::backend::Flex>(bytes.clone(), &Default::default()).into_data();
        let values: Vec<u8> = values.iter::<i64>().map(|value| u8::try_from(value).unwrap()).collect();
        assert_eq!(values, [&bytes[..], &[0]].concat());
    }

    #[cfg(feature = "flex")]
    #[test]
    fn split_products_are_those_of_single_precision() {
        type B = burn::backend::Flex;
        let device = Default::default();
        B::seed(&device, 3);
        let random =
            |shape: [usize; 4]| Tensor::<B, 4>::random(shape, burn::tensor::Distribution::Normal(0.5, 1.0), &device);
        let (x, weight) = (random([2, 8, 9, 7]), random([6, 8, 3, 3]));
        let bias = random([1, 1, 1, 6]).reshape([6]);
        let options = ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
        let difference =
            |a: Tensor<B, 4>, b: Tensor<B, 4>| (a - b.clone()).abs().max().into_scalar() / b.abs().max().into_scalar();
        let whole = burn_conv2d(x.clone(), weight.clone(), Some(bias.clone()), options.clone());
        let split = split_conv2d(x.clone(), weight.clone(), Some(bias), options);
        assert!(difference(split, whole) < 1e-5);
        let (a, b) = (random([5, 432, 1, 1]).flatten::<2>(1, 3), random([432, 7, 1, 1]).flatten::<2>(1, 3));
        let [whole, split] =
            [a.clone().matmul(b.clone()), split_matmul(a, b)].map(|product| product.reshape([1, 1, 5, 7]));
        assert!(difference(split, whole) < 1e-5);
    }
}
