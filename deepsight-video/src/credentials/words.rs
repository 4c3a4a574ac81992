//! What content credentials state, in words for a report.

use c2pa::{
    Manifest, Reader, Relationship, ValidationState,
    validation_results::{StatusCodes, ValidationResults, validation_codes as code},
    validation_status::ValidationStatus,
};
use deepsight_core::Fact;
use serde_json::Value;

use super::NAME;
use crate::facts;

/// Characters of a name inside a sentence.
const MAX_NAME: usize = 60;
/// Actions that are listed by name, and titles of sources.
const MAX_LISTED: (usize, usize) = (10, 3);
/// Levels of an assertion that are searched for the kind of source.
const MAX_DEPTH: usize = 16;

/// Returns the facts about credentials that could be read. `listed` says whether there is a list of trusted
/// certificates.
pub(super) fn facts(reader: &Reader, listed: bool) -> Vec<Fact> {
    let (Some(active), Some(results)) = (reader.active_manifest(), reader.validation_results()) else {
        return vec![facts::fact(NAME, "the file has some without content")];
    };
    let state = state(results);
    let mut facts = vec![facts::fact(NAME, &state)];
    let mut add = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| facts::fact(&format!("Content credentials: {name}"), &value)));
    };
    add("signed by", Some(signer(active, results, listed)));
    add("time", Some(time(active, results, listed)));
    add("program", program(active));
    add("AI", Some(origin(reader, active)));
    add("actions", actions(active));
    add("sources", sources(active));
    facts
}

/// Returns whether the credentials are valid, or what does not match.
fn state(results: &ValidationResults) -> String {
    let passed = codes(results, |codes| codes.success());
    let noted = codes(results, |codes| codes.informational());
    let failed = codes(results, |codes| codes.failure());
    let any = |codes: &[&str], wanted: &[&str]| codes.iter().any(|code| wanted.contains(code));
    let bound = any(&passed, &CONTENT_MATCHES);
    if results.validation_state() != ValidationState::Invalid && bound {
        let left_out = any(&noted, &[code::ASSERTION_DATAHASH_ADDITIONAL_EXCLUSIONS]);
        return format!(
            "valid: the file has not changed since it was signed{}",
            if left_out { ", except perhaps in parts that the signer left out" } else { "" }
        );
    }
    let is_harmless = |code: &str| code == code::SIGNING_CREDENTIAL_UNTRUSTED || EXPIRED.contains(&code);
    if bound && any(&failed, &EXPIRED) && failed.iter().all(|code| is_harmless(code)) {
        return EXPIRED_SINCE.into();
    }
    let reason = REASONS.iter().find(|(codes, _)| any(&failed, codes)).map(|(_, reason)| (*reason).to_owned());
    let reason = reason.unwrap_or_else(|| match failed.iter().find(|code| !is_harmless(code)) {
        Some(code) => format!("they break a rule of the standard ({})", facts::shortened(code, MAX_NAME)),
        None => "nothing ties them to the content of this file".into(),
    });
    format!("not valid: {reason}. What they state is not confirmed")
}

/// Returns the codes of one kind of status, of the file's own credentials and those of its sources.
fn codes(results: &ValidationResults, of: impl Fn(&StatusCodes) -> &Vec<ValidationStatus>) -> Vec<&str> {
    let sources = results.ingredient_deltas().into_iter().flatten().map(|source| source.validation_deltas());
    results.active_manifest().into_iter().chain(sources).flat_map(of).map(ValidationStatus::code).collect()
}

/// Codes of a content that is the signed one.
const CONTENT_MATCHES: [&str; 3] =
    [code::ASSERTION_DATAHASH_MATCH, code::ASSERTION_BMFFHASH_MATCH, code::ASSERTION_BOXHASH_MATCH];

const EXPIRED_SINCE: &str = "not confirmed: nothing has changed, but the signer's certificate has expired, and no \
                             trusted time stamp says that it was in force at the time of signing";

/// Codes of a certificate that is no longer in force.
const EXPIRED: [&str; 2] = [code::SIGNING_CREDENTIAL_EXPIRED, code::CLAIM_SIGNATURE_OUTSIDE_VALIDITY];

/// Codes of failures and what they mean, the most telling first.
const REASONS: [(&[&str], &str); 7] = [
    (
        &[
            code::ASSERTION_DATAHASH_MISMATCH,
            code::ASSERTION_BMFFHASH_MISMATCH,
            code::ASSERTION_BOXHASH_MISMATCH,
            code::ASSERTION_BOXHASH_UNKNOWN_BOX,
        ],
        "the file was changed after it was signed",
    ),
    (&[code::CLAIM_SIGNATURE_MISMATCH], "the signature does not belong to these statements"),
    (&[code::CLAIM_SIGNATURE_MISSING], "there is no signature"),
    (
        &[code::ASSERTION_HASHEDURI_MISMATCH, code::HASHED_URI_MISMATCH, code::ASSERTION_MISSING],
        "a statement was changed or removed after signing",
    ),
    (&[code::SIGNING_CREDENTIAL_REVOKED], "the signer's certificate was revoked"),
    (&[code::SIGNING_CREDENTIAL_INVALID], "the signer's certificate is not one for signing"),
    (
        &[code::INGREDIENT_MANIFEST_MISMATCH, code::INGREDIENT_HASHEDURI_MISMATCH, code::INGREDIENT_MANIFEST_MISSING],
        "the credentials of a source were changed or removed",
    ),
];

/// Returns the signer's name, and whether it was checked.
fn signer(active: &Manifest, results: &ValidationResults, listed: bool) -> String {
    let name = active.common_name().filter(|name| !name.trim().is_empty());
    let organization = active.issuer().filter(|issuer| !issuer.trim().is_empty() && Some(issuer) != name.as_ref());
    let names: Vec<_> = name.iter().chain(&organization).map(|name| facts::shortened(name, MAX_NAME)).collect();
    let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
    let trust = match (listed, passed(results, code::SIGNING_CREDENTIAL_TRUSTED)) {
        (false, _) => "not checked, as no list of trusted certificates was given",
        (true, true) => "on the list of trusted certificates",
        (true, false) => "not on the list of trusted certificates",
    };
    format!("{names}; {trust}")
}

/// Returns the time of signing, and who states it.
fn time(active: &Manifest, results: &ValidationResults, listed: bool) -> String {
    let Some(time) = active.time() else { return "no time stamp".into() };
    let time = facts::shortened(&time, MAX_NAME);
    match listed && passed(results, code::TIMESTAMP_TRUSTED) {
        true => format!("{time}, by a trusted time stamp"),
        false => format!("{time}, by a time stamp of an authority that was not checked"),
    }
}

/// Returns whether a check of the file's own credentials succeeded.
fn passed(results: &ValidationResults, code: &str) -> bool {
    results.active_manifest().is_some_and(|codes| codes.success().iter().any(|status| status.code() == code))
}

/// Returns the program that wrote the credentials.
fn program(active: &Manifest) -> Option<String> {
    let named = active.claim_generator_info.iter().flatten().take(MAX_LISTED.1).map(|program| {
        let version = program.version.as_deref().unwrap_or_default();
        facts::shortened(&format!("{} {version}", program.name), MAX_NAME)
    });
    let named: Vec<_> = named.filter(|name| !name.is_empty()).collect();
    match named.is_empty() {
        true => active.claim_generator().map(str::to_owned),
        false => Some(named.join(", ")),
    }
}

/// Kinds of sources in IPTC's and C2PA's vocabulary and their meaning for a file, those with AI first.
const ORIGINS: [(&[&str], &str); 6] = [
    (&["trainedAlgorithmicMedia", "trainedAlgorithmicData"], "made by an AI model"),
    (&["compositeWithTrainedAlgorithmicMedia"], "partly made by an AI model"),
    (&["compositeSynthetic"], "put together with computer-made parts"),
    (&["algorithmicMedia", "virtualRecording", "dataDrivenMedia"], "made by a program without a trained AI model"),
    (&["algorithmicallyEnhanced"], "enhanced by a program"),
    (&["digitalCapture", "computationalCapture", "compositeCapture"], "recorded by a camera"),
];

/// Returns what the credentials of a file and of its sources state about AI.
fn origin(reader: &Reader, active: &Manifest) -> String {
    let mut kinds = Vec::new();
    source_kinds(active, &mut kinds);
    let mut of_sources = Vec::new();
    let others = reader.iter_manifests().filter(|manifest| manifest.label() != active.label());
    others.for_each(|manifest| source_kinds(manifest, &mut of_sources));
    let meanings = |kinds: &[&str], subject: &str| {
        let known = ORIGINS.iter().filter(|(names, _)| names.iter().any(|name| kinds.contains(name)));
        known.map(|(_, meaning)| format!("{subject} {meaning}")).collect::<Vec<_>>()
    };
    let found = [meanings(&kinds, "the file was"), meanings(&of_sources, "a source was")].concat();
    match found.is_empty() {
        true => "they do not say whether AI was used".into(),
        false => format!("they say that {}", found.join("; ")),
    }
}

/// Collects the kinds of sources that the assertions of a manifest name.
fn source_kinds<'a>(manifest: &'a Manifest, kinds: &mut Vec<&'a str>) {
    manifest
        .assertions()
        .iter()
        .filter_map(|assertion| assertion.value().ok())
        .for_each(|value| collect(value, 0, kinds));
}

/// Collects the last part of every kind of source below a value.
fn collect<'a>(value: &'a Value, depth: usize, kinds: &mut Vec<&'a str>) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, depth + 1, kinds)),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name.to_ascii_lowercase().ends_with("digitalsourcetype") => {
                        let kind = text.trim().rsplit('/').next().unwrap_or_default();
                        if !kinds.contains(&kind) && ORIGINS.iter().any(|(names, _)| names.contains(&kind)) {
                            kinds.push(kind);
                        }
                    }
                    _ => collect(field, depth + 1, kinds),
                }
            }
        }
        _ => {}
    }
}

/// Returns what was done to the file, in the stated order.
fn actions(active: &Manifest) -> Option<String> {
    let assertions = active.assertions().iter().filter(|assertion| assertion.label().starts_with("c2pa.actions"));
    let lists = assertions.filter_map(|assertion| assertion.value().ok()?.get("actions")?.as_array());
    let mut names = Vec::new();
    let mut more = 0;
    for action in lists.flatten().filter_map(|action| action.get("action")?.as_str()) {
        let name = match ACTIONS.iter().find(|(known, _)| *known == action) {
            Some((_, name)) => (*name).to_owned(),
            None => facts::shortened(action.strip_prefix("c2pa.").unwrap_or(action), MAX_NAME),
        };
        match names.contains(&name) {
            false if names.len() < MAX_LISTED.0 => names.push(name),
            false => more += 1,
            true => {}
        }
    }
    if more > 0 {
        names.push("others".into());
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// Actions of the standard and their names in a report.
const ACTIONS: [(&str, &str); 17] = [
    ("c2pa.color_adjustments", "colors changed"),
    ("c2pa.converted", "converted"),
    ("c2pa.created", "created"),
    ("c2pa.cropped", "cropped"),
    ("c2pa.drawing", "drawn on"),
    ("c2pa.edited", "edited"),
    ("c2pa.filtered", "filtered"),
    ("c2pa.opened", "opened"),
    ("c2pa.orientation", "turned"),
    ("c2pa.placed", "something put in"),
    ("c2pa.published", "published"),
    ("c2pa.redacted", "statements removed"),
    ("c2pa.removed", "something taken out"),
    ("c2pa.repackaged", "repackaged"),
    ("c2pa.resized", "resized"),
    ("c2pa.transcoded", "encoded anew"),
    ("c2pa.unknown", "changed in an unknown way"),
];

/// Returns the number of sources that the file was made of, and the first of their titles.
fn sources(active: &Manifest) -> Option<String> {
    let sources = active.ingredients();
    let parent = sources.iter().any(|source| *source.relationship() == Relationship::ParentOf);
    let titles = sources.iter().filter_map(|source| source.title()).take(MAX_LISTED.1);
    let titles: Vec<_> = titles.map(|title| format!("\"{}\"", facts::shortened(title, MAX_NAME / 2))).collect();
    let parent = if parent { ", one of them the earlier version of this file" } else { "" };
    match sources.len() {
        0 => None,
        count => Some(format!("{count}: {}{parent}", titles.join(", "))),
    }
}
