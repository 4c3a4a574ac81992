//! What reaches standard error while a program runs: the test starts itself anew and reads that.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::thread;

use deepsight_device::warnings::{hide_retried_panics, show};

/// What [`child`] says on standard error.
fn said() -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    // The name of a test in its program does not begin with the program's name.
    let (_, test) = concat!(module_path!(), "::child").split_once("::").unwrap();
    let output = child.args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[ignore = "a part of the other tests: run by them"]
fn child() {
    show();
    show();
    log::warn!(target: "deepsight_face::mtcnn", "half the batch");
    log::info!(target: "deepsight_face::mtcnn", "of no interest");
    log::warn!(target: "cubecl_common::device", "of no interest");
    hide_retried_panics();
    hide_retried_panics();
    let full = "can't allocate buffer of size: 4096\n";
    for (name, message) in [("DSD-0-0", full), ("DSD-0-0", "another reason"), ("worker", full)] {
        let thread = thread::Builder::new().name(name.into()).spawn(move || panic!("{message}"));
        assert!(thread.unwrap().join().is_err());
    }
}

#[test]
fn warnings_of_our_own_crates_are_shown_and_no_others() {
    let said = said();
    assert_eq!(said.matches("warning: half the batch\n").count(), 1, "{said}");
    assert!(!said.contains("of no interest"), "{said}");
}

#[test]
fn a_gpu_thread_without_memory_is_not_reported_and_all_other_panics_are() {
    let said = said();
    assert_eq!(said.matches("panicked at").count(), 2, "{said}");
    assert!(said.contains("'DSD-0-0'") && said.contains("another reason"), "{said}");
    assert!(said.contains("'worker'") && said.contains("can't allocate buffer of size"), "{said}");
}
