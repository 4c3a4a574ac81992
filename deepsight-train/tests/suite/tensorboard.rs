//! Tests the framing and the content of event files. `tensorboard/load.py` reads one with TensorBoard itself:
//!
//! `DEEPSIGHT_KEEP_EVENTS=FOLDER cargo test -p deepsight-train --no-default-features --test suite tensorboard`
//! `python deepsight-train/tests/suite/tensorboard/load.py FOLDER`   (PyPI's `tensorboard` 2.21)

use std::path::Path;

use deepsight_core::image::{Rgb, RgbImage};
use deepsight_train::metrics::Scores;
use deepsight_train::tensorboard::EventWriter;
use deepsight_train::{Label, Scored};

/// Writes the events that `load.py` expects.
fn write(folder: &Path) -> Vec<u8> {
    let mut events = EventWriter::create(folder).unwrap();
    for step in 1..=5u64 {
        events.scalar("loss/train", step, 1.0 / step as f64).unwrap();
    }
    let picture = RgbImage::from_fn(6, 4, |x, y| Rgb([40 * x as u8, 60 * y as u8, 7]));
    events.image("samples/first", 2, &picture).unwrap();
    events.text("settings", 0, "| epochs | 20 |\n| --- | --- |").unwrap();
    let faces = [(0.1, Label::Real), (0.6, Label::Real), (0.4, Label::Fake), (0.9, Label::Fake)]
        .map(|(p, label)| Scored::from_probability("a", label, p));
    events.pr_curve("val/faces", 3, &Scores::of_faces(&faces).unwrap()).unwrap();
    events.flush().unwrap();
    let mut resumed = EventWriter::resume(folder, 4).unwrap();
    resumed.scalar("loss/train", 4, 9.0).unwrap();
    resumed.flush().unwrap();
    assert_ne!(events.path(), resumed.path());
    std::fs::read(events.path()).unwrap()
}

/// Computes a masked CRC-32C bit by bit (RFC 3720), independently of the code under test.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[test]
fn records_are_framed_with_their_length_and_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("DEEPSIGHT_KEEP_EVENTS");
    let file = write(kept.as_deref().map_or(folder.path(), Path::new));
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut records) = (0, Vec::new());
    while at < file.len() {
        let length = u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(word(at + 8), masked_crc(&file[at..at + 8]));
        let message = &file[at + 12..at + 12 + length];
        assert_eq!(word(at + 12 + length), masked_crc(message));
        records.push(message);
        at += 16 + length;
    }
    assert_eq!(records.len(), 1 + 5 + 3);
    assert!(records[0].ends_with(b"brain.Event:2"));
    let holds = |record: &[u8], part: &[u8]| record.windows(part.len()).any(|window| window == part);
    assert!(holds(records[1], b"loss/train") && holds(records[1], &1f32.to_le_bytes()));
    assert!(holds(records[6], b"\x89PNG\r\n") && holds(records[7], b"settings") && holds(records[8], b"pr_curves"));
}

#[test]
fn an_error_names_the_folder_that_cannot_be_created() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = EventWriter::create(file.join("events")).unwrap_err().to_string();
    assert!(message.contains("file/events: cannot be made"), "{message}");
}
