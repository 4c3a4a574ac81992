use std::{fs::File, path::Path};

use crate::parameter_sets::{Unit, units_of};
use crate::scan::KeyPacket;

/// What follows from decoding that begins at a key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The key frame, and all frames shown after it, are those of a decoder that began earlier.
    Clean,
    /// Frames after it refer to no frame before it, but the state of the decoder may differ. From the next key frame on
    /// all frames are those of a decoder that began earlier.
    Recovers,
    /// Not known.
    Unknown,
}

/// Codecs whose key frames reset the decoder, and those all of whose frames are key frames.
const CLEAN: [&str; 11] =
    ["vp9", "av1", "mjpeg", "prores", "dnxhd", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "dvvideo", "ffv1"];

/// Codecs whose frames after a key frame refer to none before it.
const RECOVERING: [&str; 5] = ["mpeg4", "mpeg1video", "mpeg2video", "h263", "flv1"];

/// Most bytes of a message about the frame (SEI) that are read.
const MAX_MESSAGE: u64 = 4096;

/// The key frames of a stream as entries.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    codec: &'a str,
    /// Packets of the key frames in order of presentation.
    packets: Vec<KeyPacket>,
    file: Option<File>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(path: &Path, codec: &'a str, packets: &[KeyPacket]) -> Self {
        let mut packets = packets.to_vec();
        packets.sort_by_key(|packet| packet.raw);
        Self { codec, packets, file: File::open(path).ok() }
    }

    /// Returns whether key frames of `codec` can be entries.
    pub(crate) fn exist_in(codec: &str) -> bool {
        CLEAN.contains(&codec) || RECOVERING.contains(&codec) || ["h264", "hevc"].contains(&codec)
    }

    /// Returns what follows from decoding that begins at the key frame number `key`, in order of presentation.
    pub(crate) fn at(&mut self, key: usize) -> Entry {
        match self.codec {
            codec if CLEAN.contains(&codec) => Entry::Clean,
            codec if RECOVERING.contains(&codec) => Entry::Recovers,
            "h264" => self.look(key, h264),
            "hevc" => self.look(key, hevc),
            _ => Entry::Unknown,
        }
    }

    fn look(&mut self, key: usize, kind: fn(&mut File, &[Unit]) -> Entry) -> Entry {
        let (Some(place), Some(file)) = (self.packets.get(key).and_then(|packet| packet.place), &mut self.file) else {
            return Entry::Unknown;
        };
        match units_of(file, place) {
            Ok(Some(units)) => kind(file, &units),
            _ => Entry::Unknown,
        }
    }
}

/// A key frame of H.264 resets the decoder, or says after how many frames the pictures are exact.
fn h264(file: &mut File, units: &[Unit]) -> Entry {
    let kind = |unit: &Unit| unit.head & 0x1f;
    match units.iter().map(kind).find(|kind| (1..=5).contains(kind)) {
        Some(5) => Entry::Clean,
        Some(_) => {
            let mut messages = units.iter().filter(|unit| kind(unit) == 6);
            let exact = messages.any(|unit| unit.read(file, MAX_MESSAGE).is_ok_and(|unit| is_exact_at_once(&unit)));
            if exact { Entry::Recovers } else { Entry::Unknown }
        }
        None => Entry::Unknown,
    }
}

/// Returns whether a unit of messages has one of a recovery point (SEI payload 6) that lies 0 frames ahead and is exact.
fn is_exact_at_once(unit: &[u8]) -> bool {
    let mut rest = unit.get(1..).unwrap_or_default();
    while let Some((kind, after)) = number(rest)
        && let Some((size, payload)) = number(after)
    {
        if kind == 6 {
            // The number of frames is 0 if its first bit is 1, and the next bit says that the pictures are exact.
            return payload.first().is_some_and(|byte| byte & 0xc0 == 0xc0);
        }
        rest = payload.get(size..).unwrap_or_default();
    }
    false
}

/// Reads a sum of bytes, of which all except the last are 255. Returns it and the bytes after it.
fn number(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut sum = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        sum += usize::from(byte);
        bytes = rest;
        if byte != 255 {
            return Some((sum, bytes));
        }
    }
}

/// A random access point of HEVC, of any kind, resets the decoder.
fn hevc(_: &mut File, units: &[Unit]) -> Entry {
    match units.iter().map(|unit| unit.head >> 1 & 0x3f).find(|&kind| kind < 32) {
        Some(16..=21) => Entry::Clean,
        _ => Entry::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_point_is_found_among_other_messages() {
        let exact = [6, 6, 1, 0xc4, 0x80];
        assert!(is_exact_at_once(&exact));
        assert!(is_exact_at_once(&[&[6, 1, 2, 9, 9][..], &exact[1..]].concat()));
        let long = [&[6, 5, 255, 3][..], &[7; 258], &exact[1..]].concat();
        assert!(is_exact_at_once(&long));
        for bad in [&[][..], &[6], &[6, 6], &[6, 6, 1], &[6, 6, 1, 0x44], &[6, 6, 1, 0x84], &[6, 5, 200, 1], &[6, 255]]
        {
            assert!(!is_exact_at_once(bad), "{bad:?}");
        }
    }
}
