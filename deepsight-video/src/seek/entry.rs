use std::{fs::File, io, path::Path};

use crate::{
    probe::Header,
    scan::KeyPacket,
    units::{Packing, Unit, kind_of_hevc, recovers_h264, resets_h264, units_of},
};

/// The effect of decoding that begins at a key frame.
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
const CLEAN: [&str; 12] =
    ["vp8", "vp9", "av1", "mjpeg", "prores", "dnxhd", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "dvvideo", "ffv1"];

/// Codecs whose frames after a key frame refer to none before it.
const RECOVERING: [&str; 5] = ["mpeg4", "mpeg1video", "mpeg2video", "h263", "flv1"];

/// The key frames of a stream as entries.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    codec: &'a str,
    /// Packets of the key frames in order of presentation.
    packets: Vec<KeyPacket>,
    file: Option<File>,
    packing: Packing<'a>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(path: &Path, header: &'a Header, packets: &[KeyPacket]) -> Self {
        let mut packets = packets.to_vec();
        packets.sort_by_key(|packet| packet.raw);
        Self { codec: &header.codec, packets, file: File::open(path).ok(), packing: header.packing() }
    }

    /// Returns whether key frames of `codec` can be entries.
    pub(crate) fn exist_in(codec: &str) -> bool {
        CLEAN.contains(&codec) || RECOVERING.contains(&codec) || ["h264", "hevc"].contains(&codec)
    }

    /// Returns the effect of decoding that begins at the key frame number `key`, in order of presentation.
    pub(crate) fn at(&mut self, key: usize) -> Entry {
        match self.codec {
            codec if CLEAN.contains(&codec) => Entry::Clean,
            codec if RECOVERING.contains(&codec) => Entry::Recovers,
            // The frames of an AVI file that are shown before a key frame are known only where it resets the decoder.
            "h264" if matches!(self.packing, Packing::Chunks) => {
                self.look(key, |_, units| Ok(if resets_h264(units) { Entry::Clean } else { Entry::Unknown }))
            }
            "h264" => self.look(key, h264),
            "hevc" => self.look(key, |_, units| Ok(hevc(units))),
            _ => Entry::Unknown,
        }
    }

    fn look(&mut self, key: usize, kind: fn(&mut File, &[Unit]) -> io::Result<Entry>) -> Entry {
        let (Some(place), Some(file)) = (self.packets.get(key).and_then(|packet| packet.place), &mut self.file) else {
            return Entry::Unknown;
        };
        match units_of(file, self.packing, place) {
            Ok(Some(units)) => kind(file, &units).unwrap_or(Entry::Unknown),
            _ => Entry::Unknown,
        }
    }
}

/// An IDR frame of H.264 resets the decoder. An open group of pictures begins with a recovery point: pictures that are
/// shown before it may be missing for the decoder, those shown after it are exact.
fn h264(file: &mut File, units: &[Unit]) -> io::Result<Entry> {
    Ok(match resets_h264(units) {
        true => Entry::Clean,
        false if recovers_h264(file, units)? => Entry::Recovers,
        false => Entry::Unknown,
    })
}

/// Decoding can begin at a random access point of HEVC, of any kind.
fn hevc(units: &[Unit]) -> Entry {
    if kind_of_hevc(units).is_some_and(|kind| (16..=21).contains(&kind)) { Entry::Clean } else { Entry::Unknown }
}
