//! Settings of Burn's GPU backends. They must be made before the first computation.

use std::path::Path;

use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Number of streams on a GPU: one transfers data while the other computes. By default, CubeCL gives each thread a
/// stream, and each stream its own memory.
const STREAMS: u8 = 2;

/// Stores the results of autotuning and the compiled kernels in the user's cache folder, wherever a program is started.
/// By default, CubeCL stores them beside the nearest `Cargo.toml`. A configuration file of the user takes precedence,
/// as do settings that were made before.
pub(super) fn keep_tuning() {
    let configured = std::env::current_dir().is_ok_and(|folder| is_configured(&folder));
    let Some(caches) = dirs::cache_dir().filter(|_| !configured) else { return };
    CubeClRuntimeConfig::storage().lock().get_or_insert_with(|| {
        let mut config = CubeClRuntimeConfig::default().override_from_env();
        config.autotune.cache = CacheConfig::File(caches.join("deepsight"));
        config.compilation.cache = Some(config.autotune.cache.clone());
        config.streaming.max_streams = STREAMS;
        config.into()
    });
}

/// Returns whether CubeCL finds a configuration file in the folder or above it.
fn is_configured(folder: &Path) -> bool {
    let sections = CubeClRuntimeConfig::section_file_names().iter().map(|(name, _)| name);
    let names: Vec<_> = CubeClRuntimeConfig::file_names().iter().chain(sections).collect();
    folder.ancestors().any(|folder| names.iter().any(|name| folder.join(name).is_file()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tuning_is_kept_in_the_users_caches() {
        keep_tuning();
        let root = CubeClRuntimeConfig::get().autotune.cache.root();
        assert_eq!(root, dirs::cache_dir().unwrap().join("deepsight"));
        keep_tuning();
    }

    #[test]
    fn a_file_of_settings_is_found_in_the_folder_and_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert!(!is_configured(&below));
        std::fs::write(folder.path().join("burn.toml"), "").unwrap();
        assert!(is_configured(&below) && is_configured(folder.path()));
    }
}
