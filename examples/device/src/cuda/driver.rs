//! The C functions of the driver.
#![allow(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem;
use std::ptr;

use libloading::Library;

use super::library::{functions, load};
use super::{CudaFault, Version};

/// CUDA_ERROR_NO_DEVICE: the driver finds no GPU.
const NO_DEVICE: i32 = 100;
/// CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
const CAPABILITY: [c_int; 2] = [75, 76];

/// The driver, initialized.
pub(super) struct Driver {
    library: &'static Library,
    version: Version,
    gpus: usize,
}

/// A GPU of the machine.
pub(super) struct Gpu {
    handle: c_int,
    pub(super) name: String,
    pub(super) capability: Version,
}

impl Driver {
    const NAME: &'static str = "the CUDA driver";

    functions! {
        cuDriverGetVersion(version: *mut c_int);
        cuInit(flags: c_uint);
        cuDeviceGetCount(count: *mut c_int);
        cuDeviceGet(device: *mut c_int, index: c_int);
        cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int);
        cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int);
        cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int);
        cuDevicePrimaryCtxRelease_v2(device: c_int);
        cuCtxPushCurrent_v2(context: *mut c_void);
        cuCtxPopCurrent_v2(context: *mut *mut c_void);
        cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
        cuModuleLoadData(module: *mut *mut c_void, image: *const c_void);
        cuModuleUnload(module: *mut c_void);
    }

    /// Loads and initializes the driver.
    pub(super) fn open(oldest: Version) -> Result<Self, CudaFault> {
        let usual = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
        let advice = "install it, and give a container access to the GPU";
        let library = load(&["cuda", "nvcuda"], "NVIDIA driver", usual, advice)?;
        let mut driver = Self { library, version: oldest, gpus: 0 };
        driver.version = driver.read_version()?;
        if driver.version < oldest {
            return Err(CudaFault::OldDriver { found: driver.version, oldest });
        }
        driver.gpus = driver.initialize()?;
        Ok(driver)
    }

    fn read_version(&self) -> Result<Version, CudaFault> {
        let mut version = 0;
        // SAFETY: the number outlives the call.
        unsafe { self.cuDriverGetVersion(&raw mut version) }?;
        Ok(Version { major: version / 1000, minor: version % 1000 / 10 })
    }

    /// Initializes the driver, and returns the number of GPUs.
    fn initialize(&self) -> Result<usize, CudaFault> {
        // SAFETY: the call has no preconditions.
        match unsafe { self.cuInit(0) } {
            Err(CudaFault::Refused { code: NO_DEVICE, .. }) => return Ok(0),
            outcome => outcome?,
        }
        let mut count = 0;
        // SAFETY: the driver is initialized; the number outlives the call.
        unsafe { self.cuDeviceGetCount(&raw mut count) }?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn gpus(&self) -> usize {
        self.gpus
    }

    /// Returns the GPU with this number.
    pub(super) fn gpu(&self, index: usize) -> Result<Gpu, CudaFault> {
        if index >= self.gpus {
            let found = (0..self.gpus).map(|index| self.gpu(index).map(|gpu| gpu.name)).collect::<Result<_, _>>()?;
            let visible = std::env::var_os("CUDA_VISIBLE_DEVICES");
            let visible = visible.map(|visible| visible.to_string_lossy().into_owned());
            return Err(CudaFault::NoSuchGpu { index, found, visible });
        }
        let number = c_int::try_from(index).unwrap_or(c_int::MAX);
        let mut handle = 0;
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: the driver is initialized, there are more GPUs than `index`, and the name ends in a zero byte within
        // its length.
        let name = unsafe {
            self.cuDeviceGet(&raw mut handle, number)?;
            self.cuDeviceGetName(name.as_mut_ptr(), 256, handle)?;
            name[255] = 0;
            CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
        };
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: the handle is the driver's; the number outlives the call.
            unsafe { self.cuDeviceGetAttribute(&raw mut value, which, handle) }.map(|()| value)
        };
        let capability = Version { major: attribute(CAPABILITY[0])?, minor: attribute(CAPABILITY[1])? };
        Ok(Gpu { handle, name, capability })
    }

    /// Returns the GPU's primary context, which the whole process shares. The first call creates it.
    pub(super) fn context(&self, gpu: &Gpu) -> Result<Context<'_>, CudaFault> {
        let mut handle = ptr::null_mut();
        // SAFETY: the GPU is this driver's; the retained context is pushed, or released if that fails.
        unsafe {
            self.cuDevicePrimaryCtxRetain(&raw mut handle, gpu.handle)?;
            if let Err(fault) = self.cuCtxPushCurrent_v2(handle) {
                let _ = self.cuDevicePrimaryCtxRelease_v2(gpu.handle);
                return Err(fault);
            }
        }
        Ok(Context { driver: self, gpu: gpu.handle, thread: PhantomData })
    }

    fn failed(&self, call: &'static str, code: c_int) -> CudaFault {
        let said: Vec<_> = ["cuGetErrorName", "cuGetErrorString"].iter().filter_map(|by| self.said(by, code)).collect();
        let meaning = if said.is_empty() { String::new() } else { format!(" ({})", said.join(": ")) };
        CudaFault::Refused { call, code, meaning }
    }

    /// Returns the text of one of the driver's functions for an error code.
    fn said(&self, by: &str, code: c_int) -> Option<String> {
        type Says = unsafe extern "system" fn(c_int, *mut *const c_char) -> c_int;
        let mut text = ptr::null();
        // SAFETY: the signature is the one in NVIDIA's header. The text is a constant of the library, which stays
        // loaded.
        unsafe {
            let says = self.library.get::<Says>(by).ok()?;
            (says(code, &raw mut text) == 0 && !text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into())
        }
    }
}

/// A GPU's context, current on the thread that created it and retained until this value is dropped.
pub(super) struct Context<'a> {
    driver: &'a Driver,
    gpu: c_int,
    /// Makes the type neither `Send` nor `Sync`: the context is current on one thread.
    thread: PhantomData<*const ()>,
}

impl Context<'_> {
    /// Returns the free and the total bytes of memory.
    pub(super) fn memory(&self) -> Result<[usize; 2], CudaFault> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current; the numbers outlive the call.
        unsafe { self.driver.cuMemGetInfo_v2(&raw mut free, &raw mut total) }?;
        Ok([free, total])
    }

    /// Checks that the driver loads a kernel: PTX that ends in a zero byte.
    pub(super) fn load(&self, kernel: &CStr) -> Result<(), CudaFault> {
        let mut module = ptr::null_mut();
        // SAFETY: the context is current, the text ends in a zero byte, and the module is the one just loaded.
        unsafe {
            self.driver.cuModuleLoadData(&raw mut module, kernel.as_ptr().cast())?;
            self.driver.cuModuleUnload(module)
        }
    }

    /// Leaves the context retained for the rest of the process.
    pub(super) fn keep(self) {
        self.pop();
        mem::forget(self);
    }

    fn pop(&self) {
        let mut popped = ptr::null_mut();
        // SAFETY: the context was pushed on this thread. A failure only leaves it current on a thread that ends.
        let _ = unsafe { self.driver.cuCtxPopCurrent_v2(&raw mut popped) };
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        self.pop();
        // SAFETY: the context was retained once. If this fails, it is released at the end of the process.
        let _ = unsafe { self.driver.cuDevicePrimaryCtxRelease_v2(self.gpu) };
    }
}
