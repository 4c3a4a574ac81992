//! What a file says about itself.

use std::path::Path;

use deepsight_core::Input;
use deepsight_video::Media;

use crate::clips::{Clips, ramp_source};

fn input(path: &Path) -> Input {
    Media::open(path).unwrap().input()
}

fn values<'a>(input: &'a Input, name: &str) -> Vec<&'a str> {
    input.facts.iter().filter(|fact| fact.name == name).map(|fact| fact.value.as_str()).collect()
}

#[test]
fn the_tags_of_a_camera_are_facts_but_not_the_place_of_recording() {
    let clips = Clips::new();
    let source = ramp_source(10);
    let source: Vec<&str> = source.split_whitespace().collect();
    let tags = [
        "-movflags",
        "use_metadata_tags",
        "-metadata",
        "com.apple.quicktime.make=Acme",
        "-metadata",
        "com.apple.quicktime.model=Phone\n 7",
        "-metadata",
        "com.apple.quicktime.location.ISO6709=+50.45+030.52/",
        "-metadata",
        "creation_time=2026-02-03T04:05:06Z",
        "-metadata",
        "comment=a secret",
    ];
    let path = clips.make_with("phone.mov", &[&source[..], &tags, &["-c:v", "libx264"]].concat());
    let input = input(&path);
    assert_eq!(values(&input, "Maker of the camera"), ["Acme"]);
    assert_eq!(values(&input, "Camera"), ["Phone 7"]);
    assert_eq!(values(&input, "Date"), ["2026-02-03T04:05:06Z"]);
    assert!(values(&input, "Place of recording")[0].starts_with("in the file; not shown"));
    let text = format!("{:?}", input.facts);
    assert!(!text.contains("50.45") && !text.contains("secret"), "{text}");
    // A container with other names for the same.
    let copy = clips.make("copy.mkv", &format!("-i {} -c copy", path.display()));
    assert!(Media::open(&copy).unwrap().input().facts.iter().any(|fact| fact.value.starts_with("Lavf")));
}

#[test]
fn an_encoder_is_named_and_a_cut_without_encoding_is_seen() {
    let clips = Clips::new();
    let whole = clips.make("whole.mp4", &format!("{} -c:v libx264 -crf 31 -g 100", ramp_source(60)));
    let before = input(&whole);
    let encoder = values(&before, "Encoded with");
    assert!(encoder[0].starts_with("x264 - core ") && encoder[0].ends_with("rc=crf crf=31.0"), "{encoder:?}");
    assert!(values(&before, "Edit list").is_empty(), "{:?}", before.facts);
    let cut = clips.make("cut.mp4", &format!("-ss 2.5 -i {} -c copy", whole.display()));
    let cut = input(&cut);
    assert_eq!(values(&cut, "Edit list"), ["the first 2.5 s of the recording are in the file and not shown"]);
    assert_eq!(values(&cut, "Encoded with"), encoder);
    // A start that is only delayed hides nothing.
    let delayed = clips.make("delayed.mp4", &format!("-itsoffset 1.5 -i {} -c copy", whole.display()));
    assert!(values(&input(&delayed), "Edit list").is_empty(), "{:?}", input(&delayed).facts);
}

#[cfg(not(feature = "c2pa"))]
#[test]
fn content_credentials_are_seen_in_pictures_and_videos() {
    let clips = Clips::new();
    let jpeg = clips.make("plain.jpg", "-f lavfi -i color=red:s=48x32 -frames:v 1");
    assert_eq!(
        values(&input(&jpeg), "Content credentials (C2PA)"),
        ["none found at the beginning and the end of the file"]
    );
    // An APP11 segment with the head of a manifest store, as C2PA puts it into a JPEG.
    let store = b"JP\0\x01\0\0\0\x01\0\0\0\x40jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0";
    let bytes = std::fs::read(&jpeg).unwrap();
    let length = u16::try_from(store.len() + 2).unwrap().to_be_bytes();
    let some = ["the file has some; this build does not check them: build with --features c2pa"];
    let with = [&bytes[..2], &[0xff, 0xeb], &length, store, &bytes[2..]].concat();
    assert_eq!(values(&input(&clips.write("credentials.jpg", &with)), "Content credentials (C2PA)"), some);
    // At the end of a file of some megabytes.
    let (end, chunk) = (bytes.len() - 2, [0; 60_000]);
    let filling = [&[0xff, 0xec][..], &60_002u16.to_be_bytes(), &chunk].concat().repeat(100);
    let late = [&bytes[..2], &filling, &[0xff, 0xeb], &length, store, &bytes[2..end], &bytes[end..]].concat();
    assert!(late.len() > 3 * (2 << 20) / 2);
    assert_eq!(values(&input(&clips.write("late.jpg", &late)), "Content credentials (C2PA)"), some);
}

#[test]
fn facts_are_few_and_short_however_much_a_file_says() {
    let clips = Clips::new();
    let source = ramp_source(5);
    let source: Vec<&str> = source.split_whitespace().collect();
    let long = format!("encoder={}", "é".repeat(5000));
    let model = format!("model={}", "m".repeat(50_000));
    let flags = ["-metadata", &model, "-metadata", &long, "-c:v", "libx264"];
    let input = input(&clips.make_with("long.mkv", &[&source[..], &flags].concat()));
    assert!(!input.facts.is_empty() && input.facts.len() < 40, "{:?}", input.facts);
    assert!(input.facts.iter().all(|fact| fact.value.chars().count() <= 201), "{:?}", input.facts);
}
