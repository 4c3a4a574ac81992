//! Facts that a file states about itself: the program that wrote it, dates, the camera, its edit list, and traces of an
//! encoder. Anyone can change them, so they are evidence for a person and never change the score.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use deepsight_core::Fact;
use exif::{In, Tag, Value};

use crate::{
    DecodeOptions,
    boxes::{child, children, long, only, word},
    credentials,
    units::beginning_of,
};

/// Bytes at the beginning of a file that are searched for traces of an encoder, which stand in the first frame.
const SEARCHED: u64 = 2 << 20;
/// Characters of a value that are kept.
const MAX_VALUE: usize = 200;
/// Edits of a list that are counted.
const MAX_EDITS: u32 = 10_000;
/// Seconds of footage before the first that is shown, from which an edit list is mentioned. Some tenths of a second are
/// usual: frames that others need, and the start of the sound.
const MENTIONED_SKIP: f64 = 0.5;
/// The requested tags, by ffprobe's name, and their name in a report.
pub(crate) const TAGS: [(&str, &str); 14] = [
    ("encoder", "Written by"),
    ("ENCODER", "Written by"),
    ("creation_time", "Date"),
    ("date", "Date"),
    ("com.apple.quicktime.creationdate", "Date of recording"),
    ("make", "Maker of the camera"),
    ("com.apple.quicktime.make", "Maker of the camera"),
    ("model", "Camera"),
    ("com.apple.quicktime.model", "Camera"),
    ("com.apple.quicktime.software", "Software of the camera"),
    ("com.android.version", "Android version"),
    ("com.android.model", "Camera"),
    ("major_brand", "Kind of file"),
    ("handler_name", "Name of the stream"),
];
/// Tags with a place of recording. A report may be published, so it states that there is a place, but not which.
const PLACES: [&str; 3] = ["location", "location-eng", "com.apple.quicktime.location.ISO6709"];

/// Returns the names of all requested tags, as ffprobe takes them.
pub(crate) fn asked() -> String {
    TAGS.iter().map(|(tag, _)| *tag).chain(PLACES).collect::<Vec<_>>().join(",")
}

/// Returns the facts about a file with these tags, first those of the file and then those of the stream. `index` is the
/// index of an MP4.
pub(crate) fn facts(path: &Path, tags: [&BTreeMap<String, String>; 2], index: Option<&[u8]>) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut add = |name: &str, value: &str| {
        let fact = fact(name, value);
        if !fact.value.is_empty() && !facts.contains(&fact) {
            facts.push(fact);
        }
    };
    for tags in tags {
        for (tag, name) in TAGS {
            if let Some(value) = tags.get(tag) {
                add(name, value);
            }
        }
        if PLACES.iter().any(|tag| tags.contains_key(*tag)) {
            add("Place of recording", "in the file; not shown here, because a report may be published");
        }
    }
    if let Some(edits) = index.and_then(edit_list) {
        add("Edit list", &edits);
    }
    // If the file can no longer be read, decoding it reports that.
    if let Some(encoder) = beginning_of(path, SEARCHED).ok().and_then(|head| encoder(&head)) {
        add("Encoded with", &encoder);
    }
    facts
}

/// Returns a fact with a value of bounded length.
pub(crate) fn fact(name: &str, value: &str) -> Fact {
    Fact::new(name, shortened(value, MAX_VALUE))
}

/// Returns the facts about a still picture, with those of its content credentials.
pub(crate) fn of_picture(path: &Path, options: &DecodeOptions) -> Vec<Fact> {
    let mut facts = of_exif(path);
    facts.extend(credentials::facts(path, options));
    facts
}

fn of_exif(path: &Path) -> Vec<Fact> {
    let exif = File::open(path).map(|file| exif_tags(&mut BufReader::new(file))).unwrap_or_default();
    facts(path, [&exif, &BTreeMap::new()], None)
}

/// The requested fields of EXIF data, and the tags of [`TAGS`] with the same meaning.
const EXIF_FIELDS: [(Tag, &str); 5] = [
    (Tag::Software, "encoder"),
    (Tag::DateTime, "date"),
    (Tag::DateTimeOriginal, "com.apple.quicktime.creationdate"),
    (Tag::Make, "make"),
    (Tag::Model, "model"),
];

/// Reads the EXIF data of a picture. A picture without any, or with damaged data, has no tags.
fn exif_tags(picture: &mut (impl BufRead + Seek)) -> BTreeMap<String, String> {
    let Ok(exif) = exif::Reader::new().read_from_container(picture) else { return BTreeMap::new() };
    let text = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(parts) => parts.first().map(|part| String::from_utf8_lossy(part).into_owned()),
        _ => None,
    };
    let fields = EXIF_FIELDS.into_iter().filter_map(|(tag, name)| Some((name.to_owned(), text(tag)?)));
    let place = exif.get_field(Tag::GPSLatitude, In::PRIMARY).map(|_| (PLACES[0].to_owned(), String::new()));
    fields.chain(place).collect()
}

/// Describes the edit lists of an MP4, if they do more than the usual alignment of streams.
fn edit_list(index: &[u8]) -> Option<String> {
    let video = children(index, b"trak").find(|track| {
        let media = child(track, b"mdia").and_then(|media| child(media, b"hdlr"));
        media.and_then(|handler| handler.get(8..12)) == Some(b"vide")
    })?;
    let edits = child(child(video, b"edts")?, b"elst")?;
    let header = only(only(video, b"mdia")?, b"mdhd")?;
    let scale = match header.first()? {
        0 => word(header, 12)?,
        _ => word(header, 20)?,
    };
    // An empty edit only delays the start, as in files whose sound begins first.
    let starts: Vec<i64> = (0..word(edits, 4)?.min(MAX_EDITS) as usize)
        .map_while(|edit| match edits.first()? {
            0 => Some(i64::from(word(edits, 12 + 12 * edit)? as i32)),
            _ => Some(long(edits, 16 + 20 * edit)? as i64),
        })
        .filter(|&start| start >= 0)
        .collect();
    // Where frames are decoded in another order than they are shown, the first one is shown that much later.
    let tables = child(child(child(video, b"mdia")?, b"minf")?, b"stbl")?;
    let delay = child(tables, b"ctts").and_then(|delays| word(delays, 12)).unwrap_or(0) as i32;
    let skipped = (starts.first()? - i64::from(delay)).max(0) as f64 / f64::from(scale.max(1));
    match starts.len() {
        1 if skipped < MENTIONED_SKIP => None,
        1 => Some(format!("the first {skipped:.1} s of the recording are in the file and not shown")),
        count => Some(format!("the picture is put together of {count} parts")),
    }
}

/// Returns the encoder that wrote its name into the stream of pictures, with its rate control.
fn encoder(head: &[u8]) -> Option<String> {
    for mark in [&b"x264 - core "[..], b"x265 (build "] {
        let Some(start) = find(head, mark) else { continue };
        let text = &head[start..head.len().min(start + 2048)];
        let end = text.iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(text.len());
        let text = String::from_utf8_lossy(&text[..end]);
        let name = text.split(" - H.26").next().unwrap_or(&text).trim_end_matches(['-', ' ']);
        let settings = text
            .split([' ', ':'])
            .filter(|word| ["rc=", "crf=", "bitrate=", "qp="].iter().any(|setting| word.starts_with(setting)));
        let settings: Vec<&str> = settings.collect();
        return Some(match settings.is_empty() {
            true => name.to_owned(),
            false => format!("{name}, {}", settings.join(" ")),
        });
    }
    None
}

/// Returns the position of the first mark. Searches by its first byte, which is rare in files.
pub(crate) fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    let (first, mut from) = (*mark.first()?, 0);
    while let Some(offset) = bytes.get(from..)?.iter().position(|&byte| byte == first) {
        let at = from + offset;
        if bytes.get(at..)?.starts_with(mark) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Returns untrusted text on one line of at most `most` characters, without characters that could command a terminal,
/// reverse the direction of text or hide in it.
pub(crate) fn shortened(value: &str, most: usize) -> String {
    let visible = value.split_whitespace().map(|word| word.replace(is_hidden, "")).filter(|word| !word.is_empty());
    // Some containers write dates with microseconds, which are always zero.
    let line = visible.collect::<Vec<_>>().join(" ").replace(".000000Z", "Z");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;

    use super::*;

    #[test]
    fn an_encoder_is_named_with_its_rate_control() {
        let mut head = vec![0; 5000];
        let text = b"x264 - core 164 r3095 baee400 - H.264/MPEG-4 AVC codec - options: cabac=1 rc=crf crf=23.0";
        head.extend_from_slice(text);
        head.extend([0x80; 100]);
        assert_eq!(encoder(&head).unwrap(), "x264 - core 164 r3095 baee400, rc=crf crf=23.0");
        assert_eq!(encoder(b"x265 (build 199) - 3.5+1 - H.265/HEVC codec").unwrap(), "x265 (build 199) - 3.5+1");
        assert_eq!(encoder(b"x264 - cor"), None);
        assert_eq!(encoder(b"x264 - core "), Some("x264 - core".into()));
    }

    /// Returns a JPEG without pixels that has these fields of EXIF data.
    fn jpeg(fields: &[(Tag, Value)]) -> Vec<u8> {
        let mut writer = exif::experimental::Writer::new();
        let fields: Vec<exif::Field> = fields
            .iter()
            .map(|(tag, value)| exif::Field { tag: *tag, ifd_num: In::PRIMARY, value: value.clone() })
            .collect();
        fields.iter().for_each(|field| writer.push_field(field));
        let mut data = io::Cursor::new(Vec::new());
        writer.write(&mut data, false).unwrap();
        let data = [b"Exif\0\0", data.get_ref().as_slice()].concat();
        let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
        [b"\xff\xd8\xff\xe1".as_slice(), &length, &data, b"\xff\xd9"].concat()
    }

    #[test]
    fn a_picture_states_camera_dates_and_program_and_that_there_is_a_place() {
        let ascii = |text: &str| Value::Ascii(vec![text.as_bytes().to_vec()]);
        let place = Value::Rational(vec![exif::Rational { num: 52, denom: 1 }; 3]);
        let picture = jpeg(&[
            (Tag::Make, ascii("Canon")),
            (Tag::Model, ascii("EOS\n5D ")),
            (Tag::Software, ascii("GIMP 2.10")),
            (Tag::DateTime, ascii("2026:11:29 21:00:00")),
            (Tag::DateTimeOriginal, ascii("2026:11:28 09:30:00")),
            (Tag::GPSLatitude, place),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.jpg");
        std::fs::write(&path, &picture).unwrap();
        let found: Vec<(String, String)> = of_exif(&path).into_iter().map(|fact| (fact.name, fact.value)).collect();
        for (name, value) in [
            ("Written by", "GIMP 2.10"),
            ("Date", "2026:11:29 21:00:00"),
            ("Date of recording", "2026:11:28 09:30:00"),
            ("Maker of the camera", "Canon"),
            ("Camera", "EOS 5D"),
        ] {
            assert!(found.contains(&(name.into(), value.into())), "{name} in {found:?}");
        }
        assert!(found.iter().any(|(name, value)| name == "Place of recording" && !value.contains("52")), "{found:?}");
        // A cut or altered picture gives what can be read, without a panic.
        for length in 0..picture.len() {
            exif_tags(&mut io::Cursor::new(&picture[..length]));
        }
        for position in 0..picture.len() {
            let mut altered = picture.clone();
            altered[position] ^= 0xff;
            exif_tags(&mut io::Cursor::new(altered));
        }
    }

    #[test]
    fn values_are_one_line_of_bounded_length() {
        assert_eq!(shortened(" a\n\tb ", 9), "a b");
        assert_eq!(shortened(&"é".repeat(300), MAX_VALUE).chars().count(), MAX_VALUE + 1);
    }

    #[test]
    fn values_cannot_command_a_terminal_or_reverse_text() {
        assert_eq!(shortened("a\u{1b}[31m\u{202e}gpj.exe\u{2066} \u{200b} b\0\u{feff}", 99), "a[31mgpj.exe b");
    }
}
