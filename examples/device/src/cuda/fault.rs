use std::fmt;
use std::time::Duration;

/// What keeps an NVIDIA GPU from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaFault {
    /// A library or header is not installed, or is a file that cannot be loaded.
    #[error("no {purpose}: looked for {looked_for} and found {}; {advice}", found(.broken.as_deref()))]
    NotInstalled {
        /// What it is.
        purpose: &'static str,
        /// The names tried.
        looked_for: String,
        /// Why a file of that name cannot be loaded.
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
        /// The oldest that will do.
        oldest: Version,
    },
    /// The driver is there and refuses to work.
    #[error("the CUDA driver failed in {call} with error {code}{meaning}; {}", advice(*.code))]
    Refused {
        /// The driver's function.
        call: &'static str,
        /// What it returned.
        code: i32,
        /// The code's name and description in the driver's own words, in brackets; empty where it has none.
        meaning: String,
    },
    /// The driver hangs.
    #[error(
        "the CUDA driver has not answered for {} s; see whether nvidia-smi does, and restart the machine if not",
        .limit.as_secs_f32()
    )]
    NoAnswer {
        /// How long it was waited for.
        limit: Duration,
    },
    /// There are fewer GPUs than that.
    #[error("looked for NVIDIA GPU {index} and found {}{}", gpus(.found), hidden(.visible.as_deref()))]
    NoSuchGpu {
        /// The number asked for.
        index: usize,
        /// The names of those that are there.
        found: Vec<String>,
        /// What the variable `CUDA_VISIBLE_DEVICES` says; it hides GPUs.
        visible: Option<String>,
    },
    /// The run-time compiler does not know the GPU's kind.
    #[error(
        "{gpu} has compute capability {capability}, and CUDA's run-time compiler (NVRTC {compiler}) compiles for {}; \
         {}",
        span(.supported), toolkit(*.capability, .supported)
    )]
    Capability {
        /// The GPU's name.
        gpu: String,
        /// What it is capable of.
        capability: Version,
        /// The compiler's version.
        compiler: Version,
        /// The capabilities that the compiler knows, the lowest first.
        supported: Vec<Version>,
    },
    /// The run-time compiler does not work.
    #[error(
        "CUDA's run-time compiler (NVRTC) failed in {call} with error {code}{reason}; install the CUDA toolkit anew"
    )]
    Compiler {
        /// The compiler's function.
        call: &'static str,
        /// What it returned.
        code: i32,
        /// What the compiler wrote, in brackets; empty where it wrote nothing.
        reason: String,
    },
    /// The driver does not take what the run-time compiler makes.
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
    /// What stands before the point.
    pub major: i32,
    /// What stands behind it.
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

/// What to do about an error of the driver.
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
