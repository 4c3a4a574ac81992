//! NVIDIA's C libraries, loaded by name.
#![allow(unsafe_code, reason = "a library that is loaded runs code")]

use libloading::Library;

use super::CudaFault;

/// Loads the library that Burn loads later: cudarc has its names.
pub(super) fn load(
    stems: &[&str],
    purpose: &'static str,
    usual: &str,
    advice: &'static str,
) -> Result<&'static Library, CudaFault> {
    let names: Vec<String> = stems.iter().flat_map(|stem| cudarc::get_lib_name_candidates(stem)).collect();
    let mut broken = None;
    for name in &names {
        // SAFETY: loading NVIDIA's libraries has no side effects on this program; Burn loads the same ones.
        match unsafe { Library::new(name) } {
            // Burn also keeps the library loaded, and a driver with running threads cannot be unloaded.
            Ok(library) => return Ok(Box::leak(Box::new(library))),
            Err(error) => broken = broken.or_else(|| why_broken(name, &error)),
        }
    }
    let looked_for = format!("{usual} and {} other names of it", names.len() - 1);
    Err(CudaFault::NotInstalled { purpose, looked_for, broken, advice })
}

/// Returns the system's reason why a file with this name cannot be loaded, and `None` if there is no such file. The
/// reason may be that a file on which it depends is missing.
fn why_broken(name: &str, error: &libloading::Error) -> Option<String> {
    let words = deepsight_core::with_causes(error);
    let absent = cfg!(windows) || words.contains(&format!("{name}: cannot open shared object file: No such file"));
    (!absent).then_some(words)
}

/// Defines methods that call C functions of `self.library` and turn their return codes into a `Result`.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => { $(
        /// # Safety
        /// The preconditions are those in NVIDIA's manual of the function.
        #[allow(non_snake_case, reason = "the name is NVIDIA's")]
        unsafe fn $name(&self, $($argument: $type),*) -> Result<(), CudaFault> {
            type Function = unsafe extern "system" fn($($type),*) -> std::ffi::c_int;
            // SAFETY: the signature is the one in NVIDIA's header.
            let found = unsafe { self.library.get::<Function>(concat!(stringify!($name), "\0").as_bytes()) };
            let function =
                found.map_err(|_| CudaFault::NoFunction { library: Self::NAME, call: stringify!($name) })?;
            // SAFETY: the caller meets the function's preconditions.
            match unsafe { function($($argument),*) } {
                0 => Ok(()),
                code => Err(self.failed(stringify!($name), code)),
            }
        }
    )* };
}
pub(super) use functions;
