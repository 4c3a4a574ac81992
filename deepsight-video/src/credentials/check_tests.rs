//! Checks of files that are signed here, with certificates of their own.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use c2pa::{Builder, EphemeralSigner, Signer};
use deepsight_core::CancelToken;

use super::{NAME, facts};
use crate::{DecodeLimits, DecodeOptions, Media, TrustList, clips::Clips};

const VALID: &str = "valid: the file has not changed since it was signed";
const CHANGED: &str = "not valid: the file was changed after it was signed. What they state is not confirmed";
const SOURCE_TYPE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype";

/// Returns the definition of a manifest that states these actions.
fn definition(actions: &str) -> String {
    format!(
        r#"{{"title": "a title", "claim_generator_info": [{{"name": "Camera", "version": "1.2"}}],
            "assertions": [{{"label": "c2pa.actions", "data": {{"actions": [{actions}]}}}}]}}"#
    )
}

fn created(kind: &str) -> String {
    format!(r#"{{"action": "c2pa.created", "digitalSourceType": "{SOURCE_TYPE}/{kind}"}}"#)
}

fn signer() -> EphemeralSigner {
    EphemeralSigner::new("reporter.local").unwrap()
}

/// Returns the certificate of a signer's authority in PEM.
fn authority(signer: &EphemeralSigner) -> String {
    let certificate = base64::engine::general_purpose::STANDARD.encode(signer.certs().unwrap().last().unwrap());
    let lines: Vec<_> = certificate.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Signs a file with a definition and returns the signed content.
fn signed(path: &Path, definition: &str, signer: &EphemeralSigner, change: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut builder = Builder::default().with_definition(definition).unwrap();
    change(&mut builder);
    let kind = path.extension().unwrap().to_str().unwrap();
    let (mut source, mut signed) = (Cursor::new(std::fs::read(path).unwrap()), Cursor::new(Vec::new()));
    builder.sign(signer, kind, &mut source, &mut signed).unwrap();
    signed.into_inner()
}

fn unchanged(_: &mut Builder) {}

fn picture(clips: &Clips, name: &str) -> std::path::PathBuf {
    clips.make(name, "-f lavfi -i testsrc=s=96x64 -frames:v 1")
}

/// Returns the value of a fact about a file's credentials.
fn value(path: &Path, options: &DecodeOptions, name: &str) -> Option<String> {
    let name = if name.is_empty() { NAME.to_owned() } else { format!("Content credentials: {name}") };
    facts(path, options).into_iter().find(|fact| fact.name == name).map(|fact| fact.value)
}

fn state(path: &Path) -> String {
    value(path, &DecodeOptions::default(), "").unwrap()
}

#[test]
fn signed_pictures_and_videos_are_valid_until_one_byte_changes() {
    let clips = Clips::new();
    let (signer, definition) = (signer(), definition(&created("digitalCapture")));
    let files = [
        picture(&clips, "a.jpg"),
        picture(&clips, "a.png"),
        clips.make("a.gif", "-f lavfi -i testsrc=s=96x64 -frames:v 3"),
        clips.ramp("a.mp4", 20),
        clips.ramp("a.mov", 20),
    ];
    for file in files {
        assert_eq!(state(&file), "none found", "{file:?}");
        let mut content = signed(&file, &definition, &signer, unchanged);
        std::fs::write(&file, &content).unwrap();
        assert_eq!(state(&file), VALID, "{file:?}");
        // The report of a file has the same facts.
        let input = Media::open(&file).unwrap().input();
        assert!(input.facts.iter().any(|fact| fact.name == NAME && fact.value == VALID), "{:?}", input.facts);
        let original = std::fs::metadata(&file).unwrap().len() as usize;
        assert_eq!(content.len(), original);
        // In the pictures, which stand after the credentials, or in an MP4 before the index.
        let kind = file.extension().unwrap().to_str().unwrap();
        let at = match kind {
            "mp4" | "mov" => content.windows(4).position(|word| word == b"mdat").unwrap() + 40,
            _ => content.len() - 30,
        };
        content[at] ^= 1;
        std::fs::write(&file, &content).unwrap();
        assert_eq!(state(&file), CHANGED, "{file:?}");
    }
}

#[test]
fn a_signer_is_named_and_trusted_only_with_a_list_that_has_its_authority() {
    let clips = Clips::new();
    let file = picture(&clips, "a.jpg");
    let (signer, other) = (signer(), signer());
    std::fs::write(&file, signed(&file, &definition(&created("digitalCapture")), &signer, unchanged)).unwrap();
    let by = |options: &DecodeOptions| value(&file, options, "signed by").unwrap();
    let listed =
        |of: &EphemeralSigner| DecodeOptions::default().with_trust_list(&TrustList::from_pem(&authority(of)).unwrap());
    let unchecked = by(&DecodeOptions::default());
    assert!(unchecked.starts_with("reporter.local, ") && unchecked.contains("; not checked"), "{unchecked}");
    assert!(by(&listed(&signer)).ends_with("; on the list of trusted certificates"), "{}", by(&listed(&signer)));
    assert!(by(&listed(&other)).ends_with("; not on the list of trusted certificates"), "{}", by(&listed(&other)));
    for options in [listed(&signer), listed(&other)] {
        assert_eq!(value(&file, &options, "").unwrap(), VALID);
    }
    assert_eq!(value(&file, &DecodeOptions::default(), "time").unwrap(), "no time stamp");
    assert_eq!(value(&file, &DecodeOptions::default(), "program").unwrap(), "Camera 1.2");
}

#[test]
fn a_text_without_certificates_is_no_trust_list() {
    for text in
        ["", "abcd", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----"]
    {
        assert!(TrustList::from_pem(text).is_err(), "{text}");
    }
}

#[test]
fn statements_about_ai_are_named_for_the_file_and_its_sources() {
    let clips = Clips::new();
    let (file, other) = (picture(&clips, "a.jpg"), picture(&clips, "b.png"));
    let signer = signer();
    for (kind, meaning) in [
        ("trainedAlgorithmicMedia", "they say that the file was made by an AI model"),
        ("compositeWithTrainedAlgorithmicMedia", "they say that the file was partly made by an AI model"),
        ("algorithmicMedia", "they say that the file was made by a program without a trained AI model"),
        ("digitalCapture", "they say that the file was recorded by a camera"),
        ("digitalArt", "they do not say whether AI was used"),
    ] {
        let content = signed(&file, &definition(&created(kind)), &signer, unchanged);
        assert_eq!(
            value(&clips.write("ai.jpg", &content), &DecodeOptions::default(), "AI").unwrap(),
            meaning,
            "{kind}"
        );
    }
    let generated = signed(&other, &definition(&created("trainedAlgorithmicMedia")), &signer, unchanged);
    let actions = r#"{"action": "c2pa.opened", "parameters": {"ingredientIds": ["base"]}},
                     {"action": "c2pa.cropped"}, {"action": "c2pa.cropped"}, {"action": "com.acme.own\u202e step"}"#;
    let content = signed(&file, &definition(actions), &signer, |builder| {
        let ingredient = r#"{"title": "first\nversion.png", "relationship": "parentOf", "label": "base"}"#;
        builder.add_ingredient_from_stream(ingredient, "png", &mut Cursor::new(&generated)).unwrap();
    });
    let made = clips.write("made.jpg", &content);
    let of = |name: &str| value(&made, &DecodeOptions::default(), name).unwrap();
    assert_eq!(of(""), VALID);
    assert_eq!(of("AI"), "they say that a source was made by an AI model");
    assert_eq!(of("actions"), "opened, cropped, com.acme.own step");
    assert_eq!(of("sources"), "1: \"first version.png\", one of them the earlier version of this file");
}

#[test]
fn credentials_on_the_web_are_named_and_not_fetched() {
    let clips = Clips::new();
    // Nobody may connect to it.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = format!("http://{}/credentials.c2pa", server.local_addr().unwrap());
    let file = picture(&clips, "a.jpg");
    let content = signed(&file, &definition(&created("digitalCapture")), &signer(), |builder| {
        builder.set_remote_url(&address).set_no_embed(true);
    });
    let file = clips.write("remote.jpg", &content);
    assert_eq!(state(&file), format!("not in the file, but on the web, where they were not looked up: {address}"));
    assert_eq!(server.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn cut_and_altered_credentials_are_never_valid_and_never_a_panic() {
    let clips = Clips::new();
    let signer = signer();
    for name in ["a.jpg", "a.mp4"] {
        let file = if name == "a.jpg" { picture(&clips, name) } else { clips.ramp(name, 5) };
        let plain = std::fs::metadata(&file).unwrap().len() as usize;
        let content = signed(&file, &definition(&created("digitalCapture")), &signer, unchanged);
        let (no, original) = (DecodeOptions::default(), facts(&clips.write(name, &content), &DecodeOptions::default()));
        let start = super::facts::find(&content, super::STORE).unwrap();
        let end = start + content.len() - plain;
        for length in (start..content.len()).step_by(311) {
            let state = state(&clips.write(name, &content[..length]));
            assert!(!state.starts_with("valid"), "cut to {length} bytes: {state}");
        }
        let mut failed = 0;
        for at in (start..end.min(content.len())).step_by(61) {
            let mut altered = content.clone();
            altered[at] ^= 1 << (at % 8);
            let altered_file = clips.write(name, &altered);
            let state = state(&altered_file);
            assert!(state.chars().count() <= 201 && !state.contains("failed"), "{state}");
            // A few bytes around the signature are not signed, such as the space that was reserved for it. No
            // statement is among them.
            assert!(!state.starts_with("valid") || facts(&altered_file, &no) == original, "bit at {at}: {state}");
            failed += usize::from(!state.starts_with("valid"));
        }
        assert!(failed > 30, "{name}: {failed}");
    }
}

#[test]
fn a_hostile_file_ends_the_check_early() {
    let clips = Clips::new();
    let no = DecodeOptions::default();
    // A million and more boxes.
    let boxes = [&b"\0\0\0\x08ftyp"[..], &b"\0\0\0\x08free".repeat(1_100_000)].concat();
    assert_eq!(value(&clips.write("boxes.mp4", &boxes), &no, "").unwrap(), "not checked: the file has too many parts");
    // Credentials of 40 MiB, of which only the first bytes are in the file.
    let large = [&b"\0\0\0\x08ftyp\x02\x80\0\0uuid"[..], super::STORE].concat();
    let large = clips.write("large.mp4", &large);
    std::fs::File::options().write(true).open(&large).unwrap().set_len(41 << 20).unwrap();
    assert!(value(&large, &no, "").unwrap().starts_with("not checked: too large"), "{:?}", value(&large, &no, ""));
    // A file that is cut or is not what its beginning says.
    for content in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"\0\0\0\x08ftyp\0\0", b"RIFF\xff\xff\xff\xffWEBPVP8 "]
    {
        let state = state(&clips.write("cut", content));
        assert!(!state.starts_with("valid"), "{state}");
    }
}

#[test]
fn a_check_ends_when_the_analysis_does_and_when_its_time_is_over() {
    let clips = Clips::new();
    let file = picture(&clips, "a.jpg");
    std::fs::write(&file, signed(&file, &definition(&created("digitalCapture")), &signer(), unchanged)).unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let stopped = DecodeOptions::default().with_cancel(&cancel);
    assert_eq!(value(&file, &stopped, "").unwrap(), "not checked: the analysis was stopped");
    let hurried =
        DecodeOptions::default().with_limits(DecodeLimits::default().with_max_wait(std::time::Duration::ZERO));
    assert_eq!(value(&file, &hurried, "").unwrap(), "not checked: it took too long");
}

#[test]
fn files_that_have_no_place_for_credentials_are_said_to_be_unchecked() {
    let clips = Clips::new();
    let file = clips.ramp("a.mkv", 5);
    assert!(state(&file).starts_with("not checked: this kind of file has no place"), "{}", state(&file));
    let content = [std::fs::read(&file).unwrap(), super::STORE.to_vec()].concat();
    let state = state(&clips.write("a.mkv", &content));
    assert!(state.starts_with("the file has some, which cannot be checked in this kind of file"), "{state}");
}
