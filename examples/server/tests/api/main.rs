//! The API over real HTTP on a real port, with real videos.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod analyses;
mod desk;
mod disk;
mod document;
mod events;
mod fetch;
mod keys;
mod known;
mod limits;
mod operation;
mod ownership;
mod pictures;
#[cfg(feature = "postgres")]
mod postgres;
mod predict;
mod queue;
mod refusals;
mod restart;
mod resumable;
mod security;
mod service;
mod shares;
mod start;
mod stills;
mod webhooks;
