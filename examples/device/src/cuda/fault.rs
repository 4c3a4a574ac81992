use std::fmt;
use std::time::Duration;

/// The reason why an NVIDIA GPU cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaFault {
    /// A library or header is not installed, or cannot be loaded.
    #[error("no {purpose}: looked for {looked_for} and found {}; {advice}", found(.broken.as_deref()))]
    NotInstalled {
        /// The library or header.
        purpose: &'static str,
        /// The names that were tried.
        looked_for: String,
        /// Why a file with this name cannot be loaded.
        broken: Option<String>,
        /// What to do.
        advice: &'static str,
    },
    /// A library lacks a function.
    #[error("{library} has no function {call}: it is older than anything that this build can use; update it")]
    NoFunction {
        /// The library.
        library: &'static str,
        /// The function.
        call: &'static str,
    },
    /// The driver is for a version of CUDA that is too old.
    #[error(
        "the NVIDIA driver is too old: it is made for CUDA {found}, and {oldest} is the oldest that will do; update it"
    )]
    OldDriver {
        /// The driver's version.
        found: Version,
        /// The oldest supported version.
        oldest: Version,
    },
    /// The driver is loaded but returns an error.
    #[error("the CUDA driver failed in {call} with error {code}{meaning}; {}", advice(*.code))]
    Refused {
        /// The driver's function.
        call: &'static str,
        /// The error code.
        code: i32,
        /// The driver's name and description of the code, in brackets; empty if it has none.
        meaning: String,
    },
    /// The driver does not answer.
    #[error(
        "the CUDA driver has not answered for {} s; see whether nvidia-smi does, and restart the machine if not",
        .limit.as_secs_f32()
    )]
    NoAnswer {
        /// The limit on the wait.
        limit: Duration,
    },
    /// There is no GPU with this number.
    #[error("looked for NVIDIA GPU {index} and found {}{}", gpus(.found), hidden(.visible.as_deref()))]
    NoSuchGpu {
        /// The requested number.
        index: usize,
        /// The names of the GPUs that were found.
        found: Vec<String>,
        /// The value of `CUDA_VISIBLE_DEVICES`, which hides GPUs.
        visible: Option<String>,
    },
    /// The run-time compiler does not support the GPU's compute capability.
    #[error(
        "{gpu} has compute capability {capability}, and CUDA's run-time compiler (NVRTC {compiler}) compiles for {}; \
         {}",
        span(.supported), toolkit(*.capability, .supported)
    )]
    Capability {
        /// The GPU's name.
        gpu: String,
        /// The GPU's compute capability.
        capability: Version,
        /// The compiler's version.
        compiler: Version,
        /// The compute capabilities that the compiler supports, the lowest first.
        supported: Vec<Version>,
    },
    /// The run-time compiler returns an error.
    #[error(
        "CUDA's run-time compiler (NVRTC) failed in {call} with error {code}{reason}; install the CUDA toolkit anew"
    )]
    Compiler {
        /// The compiler's function.
        call: &'static str,
        /// The error code.
        code: i32,
        /// The compiler's message, in brackets; empty if there is none.
        reason: String,
    },
    /// The driver does not load the output of the run-time compiler.
    #[error(
        "CUDA's run-time compiler is newer than the driver: NVRTC {compiler} makes code that a driver for CUDA \
         {driver} does not load; update the driver, or install CUDA toolkit {driver}"
    )]
    NewCompiler {
        /// The driver's version.
        driver: Version,
        /// The compiler's version.
        compiler: Version,
    },
}

/// A version of CUDA or of one of its parts, or a GPU's compute capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The number before the point.
    pub major: i32,
    /// The number after the point.
    pub minor: i32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn found(broken: Option<&str>) -> String {
    broken.map_or_else(|| "none".into(), |reason| format!("one that cannot be loaded ({reason})"))
}

fn gpus(found: &[String]) -> String {
    let named = |(index, name): (usize, &String)| format!("cuda:{index} ({name})");
    let named: Vec<_> = found.iter().enumerate().map(named).collect();
    if named.is_empty() { "none".into() } else { format!("{}: {}", named.len(), named.join(", ")) }
}

fn hidden(visible: Option<&str>) -> String {
    match visible {
        Some(visible) => format!("; the variable CUDA_VISIBLE_DEVICES is {visible:?} and hides all others"),
        None => "; nvidia-smi lists those that the system knows".into(),
    }
}

fn span(supported: &[Version]) -> String {
    match supported {
        [first, .., last] => format!("{first} to {last}"),
        [only] => only.to_string(),
        [] => "none".into(),
    }
}

fn toolkit(capability: Version, supported: &[Version]) -> &'static str {
    if supported.iter().all(|known| *known > capability) {
        "the GPU is too old for it: install an older CUDA toolkit, or choose another device"
    } else {
        "the GPU is too new for it: install a newer CUDA toolkit"
    }
}

/// Returns what to do about an error of the driver.
fn advice(code: i32) -> &'static str {
    match code {
        2 => "its memory is full: end what uses it (nvidia-smi shows that), or choose another GPU",
        34 => {
            "what was loaded is the CUDA toolkit's stand-in for a driver: take its folder stubs out of LD_LIBRARY_PATH"
        }
        46 => "another process has the GPU for itself: end it, choose another GPU, or allow more (nvidia-smi -c 0)",
        800 => "see whether this user may use /dev/nvidia*",
        802 => "the GPUs are not ready: see whether nvidia-fabricmanager runs",
        803 => "driver library and kernel module differ in version: restart the machine after an update of the driver",
        804 => "take CUDA's compatibility libraries (cuda-compat) out of LD_LIBRARY_PATH, or update the driver",
        805..=808 => "see whether CUDA's multi-process service (nvidia-cuda-mps-control) runs and has room",
        999 => "the kernel module may be in a bad state: load nvidia_uvm anew or restart the machine",
        _ => "see whether nvidia-smi works",
    }
}
