//! The dashboard as people use it: the real page in a real browser, on a real server. Needs Chromium and chromedriver.
//!
//! Pictures of what was seen are left in `target/tmp/dashboard`.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

/// The browser.
mod chromium;
/// What people do on the page again and again.
mod page;

/// From a file to its verdict, and what can be done with it.
mod analysing;
/// Everyone can use it: with a keyboard, a screen reader, a phone, in the dark.
mod everyone;
/// The evidence: timeline, video, people and their faces.
mod exploring;
/// What does not belong there: names that are markup, people without a key.
mod strangers;
/// What goes wrong, and how the page says so.
mod trouble;
