//! ffprobe's JSON output. It is parsed while it arrives, because a long video has many packets.

use std::{cell::Cell, collections::BTreeMap, fmt, io::BufReader, io::Read};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The output of ffprobe, except for the packets, which are passed on and dropped.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) streams: Vec<Stream>,
    pub(crate) format: Format,
    pub(crate) library_versions: Vec<Library>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Format {
    pub(crate) format_name: Option<String>,
    pub(crate) duration: Option<String>,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

#[derive(Deserialize)]
pub(crate) struct Stream {
    pub(crate) index: u32,
    pub(crate) id: Option<String>,
    pub(crate) codec_type: Option<String>,
    pub(crate) codec_name: Option<String>,
    pub(crate) pix_fmt: Option<String>,
    pub(crate) color_range: Option<String>,
    pub(crate) color_space: Option<String>,
    pub(crate) color_transfer: Option<String>,
    pub(crate) color_primaries: Option<String>,
    pub(crate) field_order: Option<String>,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) sample_aspect_ratio: Option<String>,
    pub(crate) r_frame_rate: Option<String>,
    pub(crate) avg_frame_rate: Option<String>,
    pub(crate) time_base: Option<String>,
    pub(crate) start_time: Option<String>,
    pub(crate) duration: Option<String>,
    pub(crate) nb_frames: Option<String>,
    #[serde(default)]
    pub(crate) disposition: Disposition,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) side_data_list: Vec<SideData>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Disposition {
    pub(crate) default: u8,
    pub(crate) attached_pic: u8,
    pub(crate) timed_thumbnails: u8,
    pub(crate) still_image: u8,
}

#[derive(Deserialize)]
pub(crate) struct SideData {
    pub(crate) displaymatrix: Option<String>,
    pub(crate) dv_profile: Option<u32>,
}

/// One packet of any stream.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Packet {
    pub(crate) codec_type: Option<String>,
    pub(crate) stream_index: Option<u32>,
    pub(crate) pts_time: Option<String>,
    pub(crate) dts_time: Option<String>,
    pub(crate) duration_time: Option<String>,
    pub(crate) size: Option<String>,
    pub(crate) pos: Option<String>,
    pub(crate) flags: String,
}

/// Reason why an answer could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The caller wanted no more packets.
    Stopped,
    /// The output ended in the middle, because ffprobe did not finish.
    CutShort,
    /// The output is not the expected JSON, or has too many bytes besides the packets.
    Malformed(String),
    /// The output could not be read.
    Io(std::io::Error),
}

/// Most bytes of output without a packet among them. ffprobe's description of a few streams takes some kilobytes, a
/// packet some hundred bytes.
const MAX_BETWEEN_PACKETS: usize = 1 << 20;

/// Reads an answer to its end and passes its packets to `on_packet`, until that returns `false`.
pub(crate) fn read(output: impl Read, on_packet: &mut dyn FnMut(&Packet) -> bool) -> Result<Answer, Unread> {
    let state = ParserState { allowance: Cell::new(MAX_BETWEEN_PACKETS), stopped: Cell::new(false) };
    let output = BufReader::with_capacity(1 << 16, Bounded { output, state: &state });
    let mut json = serde_json::Deserializer::from_reader(output);
    let read = Top { on_packet, state: &state }.deserialize(&mut json);
    let read = read.and_then(|answer| json.end().map(|()| answer));
    read.map_err(|error| match error {
        _ if state.stopped.get() => Unread::Stopped,
        error if error.is_eof() => Unread::CutShort,
        error if error.is_io() && state.allowance.get() > 0 => Unread::Io(error.into()),
        error => Unread::Malformed(error.to_string()),
    })
}

/// State that the parts of the parser share.
struct ParserState {
    /// Bytes that may still be read before the next packet.
    allowance: Cell<usize>,
    /// Whether the caller wanted no more packets.
    stopped: Cell<bool>,
}

/// A reader that fails after [`MAX_BETWEEN_PACKETS`] bytes without a packet among them.
struct Bounded<'a, R> {
    output: R,
    state: &'a ParserState,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.output.read(buffer)?;
        let left = self.state.allowance.get().saturating_sub(got);
        self.state.allowance.set(left);
        if left == 0 {
            return Err(std::io::Error::other(format!("its description is over {MAX_BETWEEN_PACKETS} bytes")));
        }
        Ok(got)
    }
}

struct Top<'a> {
    on_packet: &'a mut dyn FnMut(&Packet) -> bool,
    state: &'a ParserState,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Answer;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Answer, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what ffprobe prints")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
        let mut answer = Answer::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "packets" => map.next_value_seed(Each { on_packet: self.on_packet, state: self.state })?,
                "streams" => answer.streams = map.next_value()?,
                "format" => answer.format = map.next_value()?,
                "library_versions" => answer.library_versions = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(answer)
    }
}

struct Each<'a> {
    on_packet: &'a mut dyn FnMut(&Packet) -> bool,
    state: &'a ParserState,
}

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(packet) = seq.next_element::<Packet>()? {
            self.state.allowance.set(MAX_BETWEEN_PACKETS);
            if !(self.on_packet)(&packet) {
                self.state.stopped.set(true);
                return Err(A::Error::custom("no more packets are wanted"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Reads `text` and returns how many packets it has, of which at most `most` are wanted.
    fn read_text(text: &str, most: u64) -> (Result<Answer, Unread>, u64) {
        let mut packets = 0;
        let answer = read(text.as_bytes(), &mut |_| {
            packets += 1;
            packets <= most
        });
        (answer, packets)
    }

    #[test]
    fn packets_are_passed_on_while_the_rest_is_read() {
        let text = r#"{"library_versions":[{"name":"libavutil","major":57,"minor":28,"micro":100}],
            "packets":[{"codec_type":"video","stream_index":0,"pts_time":"0.04","flags":"K_"},
                       {"codec_type":"audio","stream_index":1,"pts_time":"0.00","flags":"K_"},
                       {"codec_type":"video","stream_index":0}],
            "programs":[],"streams":[{"index":0,"codec_type":"video"},{"index":1}],"format":{"format_name":"avi"}}"#;
        let (answer, packets) = read_text(text, 10);
        let answer = answer.unwrap();
        assert_eq!((answer.streams.len(), answer.library_versions.len(), packets), (2, 1, 3));
        assert_eq!(answer.format.format_name.as_deref(), Some("avi"));
    }

    #[test]
    fn reading_stops_when_no_more_packets_are_wanted() {
        let packet = r#"{"codec_type":"video","stream_index":0}"#;
        let endless = format!(r#"{{"packets":[{packet},{packet},{packet},{packet}"#);
        assert!(matches!(read_text(&endless, 3), (Err(Unread::Stopped), 4)));
        assert!(matches!(read_text(&endless, 4).0, Err(Unread::CutShort)));
    }

    #[test]
    fn unexpected_output_is_malformed_and_output_that_ends_early_is_cut_short() {
        for text in ["", "{", r#"{"streams":[{"index":"#] {
            assert!(matches!(read_text(text, 1).0, Err(Unread::CutShort)), "{text:?}");
        }
        for text in ["[]", "nonsense", "{} {}", r#"{"streams":7}"#, r#"{"streams":[{"index":-1}]}"#] {
            assert!(matches!(read_text(text, 1).0, Err(Unread::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn an_endless_description_is_refused_and_many_packets_are_not() {
        let endless = format!(r#"{{"title":"{}"#, "x".repeat(2 * MAX_BETWEEN_PACKETS));
        let (answer, _) = read_text(&endless, 1);
        assert!(matches!(&answer, Err(Unread::Malformed(reason)) if reason.contains("bytes")));
        let packet = r#"{"codec_type":"audio","stream_index":1,"pts_time":"0.0"},"#;
        let many = packet.repeat(2 * MAX_BETWEEN_PACKETS / packet.len());
        let (answer, _) = read_text(&format!(r#"{{"packets":[{}]}}"#, many.trim_end_matches(',')), u64::MAX);
        assert!(answer.is_ok());
    }
}
