//! Versions, completions and manual pages.

use std::fs;

use crate::program::{program, run};

#[test]
fn the_version_names_the_features_of_the_build_and_the_bundled_model() {
    let run = run("--version", &[] as &[&str]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(run.stdout.starts_with(concat!("deepsight ", env!("CARGO_PKG_VERSION"), "\nfeatures ")), "{}", run.stdout);
    for part in [
        deepsight_device::Device::NAMES[0].trim_end_matches("[:n]"),
        "efficientnet-lite0",
        "SHA-256",
        "Research use only",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
}

#[test]
fn without_a_command_the_help_lists_all_of_them() {
    let run = run("--help", &[] as &[&str]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for command in ["analyze", "merge", "convert", "models", "preprocess", "train", "evaluate", "selftest", "devices"] {
        assert!(run.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {}", run.stdout);
    }
    let alone = std::process::Command::new(program("analyze").get_program()).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn completions_of_every_shell_know_the_commands_and_their_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = run("completions", &[shell]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{shell}");
        for part in ["preprocess", "min-face-size", "self-blended"] {
            assert!(run.stdout.contains(part), "{shell}: {part}");
        }
    }
    let refused = run("completions", &["tcsh"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
    assert!(refused.stderr.contains("tcsh") && refused.stderr.contains("powershell"), "{refused:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    assert_eq!(run("man", &[&pages]).code, Some(0));
    for (page, part) in [("deepsight.1", "deepsight\\-analyze"), ("deepsight-analyze.1", "min\\-face\\-size")] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(part), "{page}: {text}");
    }
    assert_eq!(fs::read_dir(&pages).unwrap().count(), 14);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = run("man", &[&file.join("below")]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("file/below"), "{refused:?}");
}
