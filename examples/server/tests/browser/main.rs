//! Tests of the dashboard: the real page in a real browser, on a real server. They need Chromium and chromedriver.
//!
//! They leave screenshots in `target/tmp/dashboard`.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

/// The browser.
mod chromium;
/// Actions on the page that many tests need.
mod page;

/// The pages of admins: keys, and judgments beside verdicts.
mod administering;
/// Analyzing a video: from a file to its verdict, and what can be done with the result.
mod analyzing;
/// Two analyses side by side.
mod comparing;
/// The desk: several files, files that are known, notes and history, and words for everyone.
mod desk;
/// Accessibility: with a keyboard, a screen reader, a phone and the dark color scheme.
mod everyone;
/// The evidence: timeline, video, people and their faces.
mod exploring;
/// Videos on the web: from an address to a verdict.
mod fetching;
/// Links that show a result without signing in.
mod sharing;
/// Hostile input: file names that are markup, and people without a key.
mod strangers;
/// Errors, and how the page shows them.
mod trouble;
