//! NVIDIA's libraries, which are C and loaded by name.
#![allow(unsafe_code, reason = "a library that is loaded runs code")]

use libloading::Library;

use super::CudaFault;

/// Loads the library that Burn will load: cudarc knows the names.
pub(super) fn load(
    stems: &[&str],
    purpose: &'static str,
    usual: &str,
    advice: &'static str,
) -> Result<&'static Library, CudaFault> {
    let names: Vec<String> = stems.iter().flat_map(|stem| cudarc::get_lib_name_candidates(stem)).collect();
    let mut broken = None;
    for name in &names {
        // SAFETY: NVIDIA's libraries run no code of consequence when loaded; Burn loads the same ones.
        match unsafe { Library::new(name) } {
            // Burn keeps it loaded too, and a driver that has threads cannot be unloaded.
            Ok(library) => return Ok(Box::leak(Box::new(library))),
            Err(error) => broken = broken.or_else(|| why_broken(name, &error)),
        }
    }
    let looked_for = format!("{usual} and {} other names of it", names.len() - 1);
    Err(CudaFault::NotInstalled { purpose, looked_for, broken, advice })
}

/// Why a file of that name cannot be loaded, in the system's words; nothing where there is no such file. A file that
/// another one needs may be missing all the same.
fn why_broken(name: &str, error: &libloading::Error) -> Option<String> {
    let words = deepsight_core::with_causes(error);
    let absent = cfg!(windows) || words.contains(&format!("{name}: cannot open shared object file: No such file"));
    (!absent).then_some(words)
}

/// Methods that call C functions of `self.library` and turn what they return into a `Result`.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => { $(
        /// # Safety
        /// As NVIDIA's manual says of the function.
        #[allow(non_snake_case, reason = "the name is NVIDIA's")]
        unsafe fn $name(&self, $($argument: $type),*) -> Result<(), CudaFault> {
            type Function = unsafe extern "system" fn($($type),*) -> std::ffi::c_int;
            // SAFETY: the signature is the one in NVIDIA's header.
            let found = unsafe { self.library.get::<Function>(concat!(stringify!($name), "\0").as_bytes()) };
            let function =
                found.map_err(|_| CudaFault::NoFunction { library: Self::NAME, call: stringify!($name) })?;
            // SAFETY: the caller keeps the function's rules.
            match unsafe { function($($argument),*) } {
                0 => Ok(()),
                code => Err(self.failed(stringify!($name), code)),
            }
        }
    )* };
}
pub(super) use functions;
