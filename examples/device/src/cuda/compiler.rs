//! The C functions of CUDA's run-time compiler.
#![allow(unsafe_code, reason = "the compiler is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use libloading::Library;

use super::driver::Gpu;
use super::library::{functions, load};
use super::{CudaFault, Version};

/// A kernel that does nothing. It includes the same header as all of Burn's kernels.
const KERNEL: &CStr = c"#include <cuda_runtime.h>\nextern \"C\" __global__ void probe() {}\n";

/// NVRTC, the compiler of Burn's kernels.
pub(super) struct Compiler {
    library: &'static Library,
    version: Version,
}

impl Compiler {
    const NAME: &'static str = "CUDA's run-time compiler (NVRTC)";

    functions! {
        nvrtcVersion(major: *mut c_int, minor: *mut c_int);
        nvrtcGetNumSupportedArchs(count: *mut c_int);
        nvrtcGetSupportedArchs(archs: *mut c_int);
        nvrtcCreateProgram(
            program: *mut *mut c_void, source: *const c_char, name: *const c_char,
            headers: c_int, texts: *const *const c_char, names: *const *const c_char
        );
        nvrtcCompileProgram(program: *mut c_void, count: c_int, options: *const *const c_char);
        nvrtcGetProgramLogSize(program: *mut c_void, size: *mut usize);
        nvrtcGetProgramLog(program: *mut c_void, log: *mut c_char);
        nvrtcGetPTXSize(program: *mut c_void, size: *mut usize);
        nvrtcGetPTX(program: *mut c_void, ptx: *mut c_char);
        nvrtcDestroyProgram(program: *mut *mut c_void);
    }

    pub(super) fn open() -> Result<Self, CudaFault> {
        let usual = if cfg!(windows) { "nvrtc64_120_0.dll" } else { "libnvrtc.so" };
        let advice = "install the CUDA toolkit, or add its folder of libraries to LD_LIBRARY_PATH";
        let library = load(&["nvrtc"], "run-time compiler of CUDA (NVRTC)", usual, advice)?;
        let mut compiler = Self { library, version: Version { major: 0, minor: 0 } };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the numbers outlive the call.
        unsafe { compiler.nvrtcVersion(&raw mut major, &raw mut minor) }?;
        compiler.version = Version { major, minor };
        Ok(compiler)
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Checks that the compiler supports the GPU's compute capability.
    pub(super) fn check(&self, gpu: &Gpu) -> Result<(), CudaFault> {
        let supported = self.supported()?;
        if supported.contains(&gpu.capability) {
            return Ok(());
        }
        let (gpu, capability) = (gpu.name.clone(), gpu.capability);
        Err(CudaFault::Capability { gpu, capability, compiler: self.version, supported })
    }

    fn supported(&self) -> Result<Vec<Version>, CudaFault> {
        let mut count = 0;
        // SAFETY: the number outlives the call.
        unsafe { self.nvrtcGetNumSupportedArchs(&raw mut count) }?;
        let mut archs: Vec<c_int> = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the buffer has room for the number of entries that the compiler returned.
        unsafe { self.nvrtcGetSupportedArchs(archs.as_mut_ptr()) }?;
        Ok(archs.into_iter().map(|arch| Version { major: arch / 10, minor: arch % 10 }).collect())
    }

    /// Compiles a kernel that does nothing, with the options of CubeCL's `compile_kernel`. Returns PTX.
    pub(super) fn compile(&self, gpu: &Gpu, include: &Path) -> Result<CString, CudaFault> {
        let Version { major, minor } = gpu.capability;
        let specific = if major >= 9 { "a" } else { "" };
        let options = [
            format!("--gpu-architecture=sm_{major}{minor}{specific}"),
            format!("--include-path={}", include.display()),
            format!("--include-path={}", include.join("cccl").display()),
            "-lineinfo".into(),
        ];
        // A path from a variable or a constant contains no zero byte.
        let options = options.map(|option| CString::new(option).unwrap_or_default());
        let options = options.each_ref().map(|option| option.as_ptr());
        let program = Program::new(self)?;
        // SAFETY: the program, the four options and their texts outlive the call.
        match unsafe { self.nvrtcCompileProgram(program.handle, 4, options.as_ptr()) } {
            Err(CudaFault::Compiler { call, code, .. }) => {
                Err(CudaFault::Compiler { call, code, reason: program.complaint()? })
            }
            outcome => outcome.and_then(|()| program.ptx()),
        }
    }

    fn failed(&self, call: &'static str, code: c_int) -> CudaFault {
        CudaFault::Compiler { call, code, reason: String::new() }
    }
}

struct Program<'a> {
    compiler: &'a Compiler,
    handle: *mut c_void,
}

impl<'a> Program<'a> {
    fn new(compiler: &'a Compiler) -> Result<Self, CudaFault> {
        let mut handle = ptr::null_mut();
        // SAFETY: the source ends in a zero byte, and the call passes no headers.
        unsafe {
            let (text, none) = (KERNEL.as_ptr(), ptr::null());
            compiler.nvrtcCreateProgram(&raw mut handle, text, ptr::null(), 0, none, none)?;
        }
        Ok(Self { compiler, handle })
    }

    fn ptx(&self) -> Result<CString, CudaFault> {
        let mut size = 0;
        // SAFETY: the program outlives the call, and the buffer has room for the number of bytes that the compiler
        // returned.
        let bytes = unsafe {
            self.compiler.nvrtcGetPTXSize(self.handle, &raw mut size)?;
            let mut bytes = vec![0_u8; size];
            self.compiler.nvrtcGetPTX(self.handle, bytes.as_mut_ptr().cast())?;
            bytes
        };
        Ok(ended(bytes))
    }

    /// Returns the first line of the compiler's log of the program, in brackets.
    fn complaint(&self) -> Result<String, CudaFault> {
        let mut size = 0;
        // SAFETY: as for the PTX.
        let bytes = unsafe {
            self.compiler.nvrtcGetProgramLogSize(self.handle, &raw mut size)?;
            let mut bytes = vec![0_u8; size];
            self.compiler.nvrtcGetProgramLog(self.handle, bytes.as_mut_ptr().cast())?;
            bytes
        };
        let log = ended(bytes);
        let log = log.to_string_lossy();
        let line = log.lines().map(str::trim).find(|line| !line.is_empty());
        Ok(line.map_or_else(String::new, |line| format!(" ({line})")))
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: the program was created once. If this fails, it is freed at the end of the process.
        let _ = unsafe { self.compiler.nvrtcDestroyProgram(&raw mut self.handle) };
    }
}

/// Returns the text up to its first zero byte.
fn ended(mut bytes: Vec<u8>) -> CString {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    CString::new(bytes).unwrap_or_default()
}
