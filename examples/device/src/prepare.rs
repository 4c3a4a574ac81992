//! Settings of Burn's GPU backends, which have to be made before anything is computed.

use std::path::Path;

use cubecl_runtime::config::cache::CacheConfig;
use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Streams of work on a GPU: one's data can be on its way while another computes. CubeCL would give each thread its
/// own, and each stream memory of its own.
const STREAMS: u8 = 2;

/// Keeps what autotuning finds out in the user's folder of caches, wherever a program is started: CubeCL would keep it
/// beside the nearest `Cargo.toml`. Compiled kernels are kept there, too. A configuration file of the user's own wins,
/// and so does whatever was set before.
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

/// Whether CubeCL would find a file of settings, in the folder or above it.
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
