use deepsight_core::Report;
use deepsight_core::report::{PublicKey, Record, SecretKey, SignatureError, verify};

use super::report::report;

/// Keys and a signature made with OpenSSL 3: `openssl genpkey -algorithm ed25519`, `openssl pkey -pubout`.
const SECRET: &str = include_str!("keys/secret.pem");
const PUBLIC: &str = include_str!("keys/public.pem");

fn signed() -> (Report, SecretKey) {
    let key = SecretKey::from_pem(SECRET).unwrap();
    let record = Record::new().with_case(Some("7/2026".into())).with_note(Some("„Anführung“".into()));
    (report(5, true).with_record(record).sign(&key).unwrap(), key)
}

#[test]
fn a_signed_report_is_verified_however_its_json_is_written() {
    let (report, key) = signed();
    let (line, indented) = (report.to_json().unwrap(), report.to_json_pretty().unwrap());
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let sorted = serde_json::to_string(&value).unwrap();
    for json in [&line, &indented, &sorted] {
        let verified = verify(json, Some(&key.public_key())).unwrap();
        assert_eq!(verified.key, key.public_key());
        assert_eq!(verified.report.verdict, report.verdict);
    }
    // What was read back and is written again is the same report.
    let again = Report::from_json(&line).unwrap();
    assert!(verify(&again.to_json_pretty().unwrap(), None).is_ok());
}

#[test]
fn every_change_breaks_the_signature() {
    let (report, _) = signed();
    let json = report.to_json().unwrap();
    for (from, to) in [
        ("\"verdict\":\"FAKE\"", "\"verdict\":\"REAL\""),
        ("talk.mp4", "walk.mp4"),
        ("\"case\":\"7/2026\"", "\"case\":\"8/2026\""),
        ("\"threshold\":0.5,", "\"threshold\":0.51,"),
        ("\"schema\":1,", "\"schema\":1,\"extra\":true,"),
        ("\"errors\":{\"count\":1", "\"errors\":{\"count\":2"),
    ] {
        assert!(json.contains(from), "{from} in {json}");
        let altered = json.replacen(from, to, 1);
        assert!(matches!(verify(&altered, None), Err(SignatureError::Altered)), "{to}");
    }
    let signature = report.signature.unwrap();
    let other_hash = json.replace(&signature.sha256, &"0".repeat(64));
    assert!(matches!(verify(&other_hash, None), Err(SignatureError::Altered)));
}

#[test]
fn what_is_wrong_with_a_signature_is_said() {
    let (report, key) = signed();
    let json = report.to_json().unwrap();
    let signature = report.signature.clone().unwrap();
    let other = SecretKey::generate().unwrap().public_key();
    let error = verify(&json, Some(&other)).unwrap_err();
    assert!(error.to_string().contains(&key.public_key().to_string()), "{error}");
    assert!(error.to_string().contains(&other.to_string()), "{error}");
    for (from, to, part) in [
        ("\"algorithm\":\"Ed25519\"", "\"algorithm\":\"none\"", "\"none\""),
        (signature.public_key.as_str(), "AAAA", "public key is malformed"),
        (signature.value.as_str(), "AAAA", "value is malformed"),
        ("\"run\":{", "\"run\":{\"frames\":6,", "\"frames\" occurs twice"),
        ("\"schema\":1", "\"schema\":7", "schema 7"),
    ] {
        assert!(json.contains(from), "{from} in {json}");
        let error = verify(&json.replacen(from, to, 1), None).unwrap_err().to_string();
        assert!(error.contains(part), "{to}: {error}");
    }
    // A key of small order with a signature that fits every text, as far as the equation of Ed25519 goes.
    let one = |length: usize| [&[1u8][..], &vec![0; length - 1]].concat();
    let base64 = |bytes: Vec<u8>| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let weak = json.replace(&signature.public_key, &base64(one(32))).replace(&signature.value, &base64(one(64)));
    assert!(matches!(verify(&weak, None), Err(SignatureError::Altered)));
    // What is not signed must not stand beside the signature.
    let more = json.replace("\"algorithm\":", "\"note\":\"by somebody you trust\",\"algorithm\":");
    assert!(matches!(verify(&more, None), Err(SignatureError::Report(_))));
    let unsigned = super::report::report(5, true).to_json().unwrap();
    assert!(matches!(verify(&unsigned, None), Err(SignatureError::Unsigned)));
    assert!(matches!(verify("{}", None), Err(SignatureError::Report(_))));
}

#[test]
fn the_signature_is_the_one_that_openssl_makes() {
    let (report, _) = signed();
    // The canonical bytes, so that other programs can check them.
    let verified = verify(&report.to_json().unwrap(), None).unwrap();
    let text = String::from_utf8(verified.signed).unwrap();
    assert!(text.starts_with("{\"coverage\":") && text.contains("\"verdict\":\"FAKE\""), "{text}");
    assert!(!text.contains("\"signature\""));
    insta::assert_snapshot!(report.signature.unwrap().value);
}

#[test]
fn keys_are_those_of_openssl() {
    let key = SecretKey::from_pem(SECRET).unwrap();
    assert_eq!(key.public_key(), PublicKey::from_pem(PUBLIC).unwrap());
    assert_eq!((key.to_pem().unwrap().as_str(), key.public_key().to_pem().unwrap().as_str()), (SECRET, PUBLIC));
    assert!(!format!("{key:?}").contains(SECRET.lines().nth(1).unwrap()));
    for pem in ["", PUBLIC, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let error = SecretKey::from_pem(pem).unwrap_err().to_string();
        assert!(error.starts_with("not an Ed25519 secret key in PEM"), "{error}");
    }
    assert!(PublicKey::from_pem(SECRET).is_err());
    assert_ne!(SecretKey::generate().unwrap().public_key(), SecretKey::generate().unwrap().public_key());
}
