//! The self-test: it passes on the CPU, lists its checks, and fails if it ran none.

use crate::program::run;

/// The checks that every backend passes in the tests. All networks and the clip together take minutes on `ndarray`.
const CHECKS: [&str; 6] =
    ["detector", "efficientnet_b0", "efficientnet_lite0", "vision transformer", "model file", "training step"];

#[cfg(feature = "flex")]
#[test]
fn the_default_backend_passes_all_checks() {
    let passed = passed("flex", &[]);
    for check in CHECKS.into_iter().chain(["tf_efficientnet_b7", "efficientnet_b3", "efficientnet_lite4", "clip"]) {
        assert!(passed.lines().any(|line| line.starts_with("ok ") && line.contains(check)), "{check}: {passed}");
    }
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_passes_the_selected_checks() {
    let passed = passed("ndarray", &CHECKS);
    for check in CHECKS {
        assert!(passed.lines().any(|line| line.starts_with("ok ") && line.contains(check)), "{check}: {passed}");
    }
    assert!(!passed.contains("lite4"), "{passed}");
}

/// Runs the checks whose names contain one of these texts, or all of them, and returns their table.
fn passed(device: &str, only: &[&str]) -> String {
    let only: Vec<&str> = only.iter().flat_map(|text| ["--only", text]).collect();
    let run = run("selftest", &[&["--device", device], &only[..]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    assert!(run.stdout.trim_end().lines().last().is_some_and(|line| line.starts_with(&format!("{device} works: "))));
    run.stdout
}

#[test]
fn a_run_without_checks_fails() {
    let run = run("selftest", &["--only", "no check of this name"]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("does NOT work"), "{}", run.stdout);
}
