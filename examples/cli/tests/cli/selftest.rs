//! The self-test: it passes on the CPU, lists its checks, and fails if it ran none.

use crate::program::run;

#[cfg(feature = "flex")]
#[test]
fn the_default_backend_works() {
    works("flex");
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_works() {
    works("ndarray");
}

fn works(device: &str) {
    let run = run("selftest", &["--device", device]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    let checks =
        ["detector", "efficientnet_b0", "efficientnet_b3", "efficientnet_lite0", "model file", "training step", "clip"];
    for check in checks {
        let line = run.stdout.lines().find(|line| line.contains(check));
        assert!(line.is_some_and(|line| line.starts_with("ok ")), "{check}: {}", run.stdout);
    }
    assert!(run.stdout.trim_end().lines().last().is_some_and(|line| line.starts_with(&format!("{device} works: "))));
}

#[test]
fn a_run_without_checks_fails() {
    let run = run("selftest", &["--only", "no check of this name"]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("does NOT work"), "{}", run.stdout);
}
