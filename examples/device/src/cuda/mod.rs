//! NVIDIA GPUs. Everything that Burn needs is tried first, because Burn panics if it fails.

mod compiler;
mod driver;
mod fault;
mod library;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use compiler::Compiler;
use driver::{Context, Driver, Gpu};
pub use fault::{CudaFault, Version};

use super::DeviceLine;

/// The oldest version with `cuMemAllocAsync`, with which Burn allocates memory.
const OLDEST_DRIVER: Version = Version { major: 11, minor: 2 };

/// Checks that Burn can use the GPU with this number. Keeps its context, because Burn retains the same one next.
pub(super) fn check(index: usize, limit: Duration) -> Result<(), CudaFault> {
    within(limit, move || {
        let driver = Driver::open(OLDEST_DRIVER)?;
        probe(&driver, &driver.gpu(index)?).map(|probed| probed.context.keep())
    })
}

/// Lists all GPUs of the driver.
pub(super) fn list(limit: Duration) -> Vec<DeviceLine> {
    let lines = within(limit, || {
        let driver = Driver::open(OLDEST_DRIVER)?;
        // Without any GPU, this returns the fault that says so.
        driver.gpu(0)?;
        let line = |index| (format!("cuda:{index}"), describe(&driver, index).map_err(|fault| fault.to_string()));
        Ok((0..driver.gpus()).map(line).collect())
    });
    lines.unwrap_or_else(|fault| vec![("cuda".into(), Err(fault.to_string()))])
}

fn describe(driver: &Driver, index: usize) -> Result<String, CudaFault> {
    let gpu = driver.gpu(index)?;
    let Probed { context, compiler } = probe(driver, &gpu)?;
    let [free, total] = context.memory()?.map(|bytes| bytes as f64 / f64::from(1 << 30));
    let (name, capability, driver) = (gpu.name, gpu.capability, driver.version());
    Ok(format!(
        "{name}: {free:.1} of {total:.1} GiB free, compute capability {capability}, driver for CUDA {driver}, \
         NVRTC {compiler}"
    ))
}

/// Runs the work on another thread, and abandons the thread after `limit`. A call that hangs in a driver cannot be
/// ended, and must not make the program hang too.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, CudaFault> + Send + 'static,
) -> Result<T, CudaFault> {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(CudaFault::NoAnswer { limit }),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => resume_unwind(panic),
            Ok(_) => unreachable!("a worker that ends has sent its outcome"),
        },
    }
}

/// The result of a probe.
struct Probed<'a> {
    context: Context<'a>,
    compiler: Version,
}

/// Does what Burn does first: creates a context, compiles a kernel for this GPU and loads it.
fn probe<'a>(driver: &'a Driver, gpu: &Gpu) -> Result<Probed<'a>, CudaFault> {
    let compiler = Compiler::open()?;
    let include = headers()?;
    compiler.check(gpu)?;
    let context = driver.context(gpu)?;
    let kernel = compiler.compile(gpu, &include)?;
    context.load(&kernel).map_err(|fault| match fault {
        // CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        CudaFault::Refused { code: 222, .. } => {
            CudaFault::NewCompiler { driver: driver.version(), compiler: compiler.version() }
        }
        fault => fault,
    })?;
    Ok(Probed { context, compiler: compiler.version() })
}

/// Returns the folder with the header that every kernel includes. It is the folder that Burn uses (CubeCL's
/// `install::cuda_path`).
fn headers() -> Result<PathBuf, CudaFault> {
    let usual = || match () {
        () if cfg!(windows) => Some(PathBuf::from("C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/")),
        () => [("/usr/local/cuda", "/usr/local/cuda"), ("/opt/cuda", "/opt/cuda"), ("/usr/bin/nvcc", "/usr")]
            .into_iter()
            .find_map(|(sign, folder)| PathBuf::from(sign).exists().then(|| PathBuf::from(folder))),
    };
    let folder = std::env::var("CUDA_PATH").ok().map(PathBuf::from).or_else(usual);
    let include = folder.map(|folder| folder.join("include"));
    let header = include.as_ref().map(|include| include.join("cuda_runtime.h"));
    match (include, header) {
        (Some(include), Some(header)) if header.exists() => Ok(include),
        (_, header) => Err(CudaFault::NotInstalled {
            purpose: "headers of the CUDA toolkit",
            looked_for: header.map_or_else(
                || "the variable CUDA_PATH, /usr/local/cuda, /opt/cuda and /usr/bin/nvcc".into(),
                |header| header.display().to_string(),
            ),
            broken: None,
            advice: "install the CUDA toolkit, or let CUDA_PATH name its folder",
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn work_that_does_not_end_is_abandoned() {
        // Held until the end of the test, so that the work waits until then.
        let (_held, forever) = mpsc::channel::<()>();
        let limit = Duration::from_millis(10);
        let outcome = within(limit, move || Ok(forever.recv().is_ok()));
        assert_eq!(outcome.unwrap_err(), CudaFault::NoAnswer { limit });
        assert_eq!(within(Duration::from_secs(600), || Ok(7)).unwrap(), 7);
    }
}
