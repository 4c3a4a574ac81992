//! Advice for files that cannot be opened or decoded: what the file is and what to do. ffmpeg's own words follow.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{VideoError, boxes};

/// Bytes that are read to find out what a file is.
const HEAD_BYTES: u64 = 1 << 16;

/// Reason of an error for a video without a frame.
pub(crate) const NO_FRAMES: &str =
    "its video stream has no frames: the file is incomplete; copy or download it again, or record it again";

/// Returns the first bytes of a file, or none if it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // What was read before an error is enough.
    let _ = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    head
}

/// Returns the error for a video whose packets were counted and that has none. `index` is that of an MP4.
pub(crate) fn of_no_frames(path: &Path, index: Option<&[u8]>) -> VideoError {
    let path = path.to_path_buf();
    // The box `mvex` announces fragments.
    let announced = index.is_some_and(|index| boxes::child(index, b"mvex").is_some());
    if announced || is_matroska_without_pictures(&head(&path)) {
        return VideoError::NoSegments { path };
    }
    VideoError::Probe { path, reason: NO_FRAMES.into() }
}

/// Explains the error of a file: see [`explain`].
pub(crate) fn explain_file(error: VideoError, path: &Path) -> VideoError {
    let head = head(path);
    match error {
        VideoError::NotAVideo { path, .. } if is_matroska_without_pictures(&head) => VideoError::NoSegments { path },
        error => explain(error, &head),
    }
}

/// Puts what the file is and what to do before ffmpeg's words, in an error that has only these. `head` has the first
/// bytes of the file or stream, as far as they are known.
pub(crate) fn explain(error: VideoError, head: &[u8]) -> VideoError {
    match error {
        // ffmpeg may take such a segment for some other container.
        VideoError::NotAllowed { path, .. } | VideoError::NotAVideo { path, .. } if head.starts_with(&CLUSTER) => {
            VideoError::NoInitialization { path }
        }
        VideoError::NotAllowed { path, reason } => not_allowed(path, reason, head),
        VideoError::NotAVideo { path, reason } => {
            let advice = of_content(head).unwrap_or(DAMAGED);
            VideoError::NotAVideo { path, reason: format!("{advice}; ffmpeg says: {reason}") }
        }
        other => other,
    }
}

const DAMAGED: &str = "it is damaged, incomplete, or no video at all; see whether a player shows it, and copy or \
                       download it again";

fn not_allowed(path: PathBuf, reason: String, head: &[u8]) -> VideoError {
    let advice = if let Some(container) = refused_container(&reason) {
        match of_container(container) {
            _ if container == "yuv4mpegpipe" => return VideoError::Y4mFile { path },
            Some(known) => known.to_owned(),
            None => of_content(head).map_or_else(
                || {
                    format!(
                        "the container {container} is not on the list; if you trust the file, copy its streams into \
                         another one first, such as with `ffmpeg -i clip -c copy clip.mkv`"
                    )
                },
                str::to_owned,
            ),
        }
    } else if let Some(codec) = refused_decoder(&reason) {
        format!(
            "the codec {codec} is not on the list; if you trust the file, compress it without loss first, such as \
             with `ffmpeg -i clip.mov -an -c:v ffv1 clip.mkv`"
        )
    } else {
        return VideoError::NotAllowed { path, reason };
    };
    VideoError::NotAllowed { path, reason: format!("{advice}; ffmpeg says: {reason}") }
}

/// Returns the advice for a failed decode with these messages of ffmpeg.
pub(crate) fn of_decoding(stderr: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|words| stderr.contains(words));
    if says(&["Cannot allocate memory", "Out of memory", "pthread_create"]) {
        "ffmpeg lacked memory or threads: raise max_memory_bytes, or make the video smaller first"
    } else if says(&["Decoder not found", "no decoder", "Unknown decoder", "support hardware accelerated AV1"]) {
        "this ffmpeg has no decoder for the video: install a complete ffmpeg, or convert the video to H.264 on another \
         machine"
    } else {
        "the video is damaged there; see whether a player shows it, and copy, download or record it again"
    }
}

/// Returns the name of the container in `[hls] Format`.
fn refused_container(reason: &str) -> Option<&str> {
    let (_, name) = reason.strip_suffix("] Format")?.rsplit_once('[')?;
    is_plain(name).then_some(name)
}

/// Returns the name of the decoder in `Codec (wavpack)`.
pub(crate) fn refused_decoder(reason: &str) -> Option<&str> {
    let name = reason.rsplit_once("Codec (")?.1.strip_suffix(')')?;
    is_plain(name).then_some(name)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

/// Returns the advice for a container that is not on the list, by ffmpeg's name for it.
fn of_container(name: &str) -> Option<&'static str> {
    const SUBTITLES: [&str; 17] = [
        "aqtitle", "ass", "jacosub", "lrc", "microdvd", "mpl2", "mpsub", "pjs", "realtext", "sami", "scc", "srt",
        "stl", "sup", "vobsub", "vplayer", "webvtt",
    ];
    const SOUND: [&str; 25] = [
        "aac", "ac3", "aiff", "amr", "ape", "au", "caf", "dts", "dtshd", "eac3", "flac", "loas", "mlp", "mp3", "mpc",
        "mpc8", "oma", "tak", "truehd", "tta", "voc", "w64", "wav", "wv", "xwma",
    ];
    match name {
        "hls" | "applehttp" => Some(
            "it is an HLS playlist, which names other files, and only the file itself is opened; join what it names \
             first, such as with `ffmpeg -i list.m3u8 -c copy clip.mp4`, and give that file",
        ),
        "dash" => Some(
            "it is a DASH manifest, which names other files, and only the file itself is opened; join what it names \
             first, such as with `ffmpeg -i manifest.mpd -c copy clip.mp4`, and give that file",
        ),
        "concat" | "imf" => Some(
            "it is a list of other files, and only the file itself is opened; give these files, or join them first, \
             such as with `ffmpeg -i list.txt -c copy clip.mp4`",
        ),
        "sdp" => Some(
            "it is the description of a network stream (SDP), and no address is opened; record the stream first, such \
             as with `ffmpeg -protocol_whitelist file,udp,rtp -i stream.sdp -c copy clip.mkv`",
        ),
        "rawvideo" => Some(
            "it has raw pixels without their size and format; state them first, such as with `ffmpeg -f rawvideo \
             -pix_fmt yuv420p -s 1280x720 -r 25 -i clip.yuv -c:v ffv1 clip.mkv`",
        ),
        "image2" => Some(PICTURE),
        name if name.ends_with("_pipe") => Some(PICTURE),
        name if SUBTITLES.contains(&name) => {
            Some("it has subtitles and no pictures; give the video that they belong to")
        }
        name if SOUND.contains(&name) => Some("it has sound and no pictures; give the file that has the pictures"),
        _ => None,
    }
}

const PICTURE: &str = "it is a picture and not a video; give a JPEG, PNG or WebP, such as from `ffmpeg -i picture \
                       picture.png`, to an analysis that takes pictures";

/// First bytes of Matroska and WebM.
const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
/// First bytes of the list of tracks in the headers of Matroska.
const TRACKS: [u8; 4] = [0x16, 0x54, 0xae, 0x6b];
/// First bytes of a cluster of Matroska, which holds the packets of some seconds.
const CLUSTER: [u8; 4] = [0x1f, 0x43, 0xb6, 0x75];

/// Returns whether a whole Matroska file has headers and no cluster.
fn is_matroska_without_pictures(head: &[u8]) -> bool {
    let whole = (head.len() as u64) < HEAD_BYTES;
    let has = |id: [u8; 4]| head.windows(4).any(|bytes| bytes == id);
    whole && head.starts_with(&EBML) && has(TRACKS) && !has(CLUSTER)
}

/// Returns the advice for a file that is no video, by its first bytes.
fn of_content(head: &[u8]) -> Option<&'static str> {
    const ARCHIVES: [&[u8]; 7] = [
        b"PK\x03\x04",
        b"Rar!\x1a\x07",
        b"7z\xbc\xaf\x27\x1c",
        b"\x1f\x8b\x08",
        b"\xfd7zXZ\0",
        b"BZh",
        b"\x28\xb5\x2f\xfd",
    ];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if begins("<!doctype html") || begins("<html") {
        Some("it is a web page; the address leads to the page that shows the video, so download the video itself")
    } else if ARCHIVES.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar") {
        Some("it is an archive; unpack it, and give the video in it")
    } else if begins("%PDF-") {
        Some("it is a PDF document; give the video itself")
    } else if begins("version https://git-lfs") {
        Some("it is a Git LFS pointer to the video; fetch the video with `git lfs pull`")
    } else if head.starts_with(b"d") && head.windows(10).take(64).any(|bytes| bytes == b"8:announce") {
        Some("it is a torrent, which names a download; give the downloaded video")
    } else if !head.is_empty() && head.iter().all(|&byte| byte == 0) {
        Some("it begins with zeros only, so a copy or download was not finished; copy or download it again")
    } else if !text.is_empty() && is_text(head) {
        Some("it is a text file; give the video itself")
    } else {
        None
    }
}

/// Returns whether bytes are text. A character may be cut at their end.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && bytes.len() - error.valid_up_to() < 4,
    };
    valid && bytes.iter().all(|&byte| byte >= b' ' || byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn not_allowed(reason: &str, head: &[u8]) -> VideoError {
        explain(VideoError::NotAllowed { path: "clip".into(), reason: reason.into() }, head)
    }

    fn not_a_video(head: &[u8]) -> VideoError {
        explain(VideoError::NotAVideo { path: "clip".into(), reason: "Invalid data".into() }, head)
    }

    #[test]
    fn a_refused_container_or_codec_is_named_with_what_to_do_before_ffmpegs_words() {
        for (said, part) in [
            ("[hls] Format", "`ffmpeg -i list.m3u8 -c copy clip.mp4`"),
            ("[dash] Format", "manifest.mpd"),
            ("[concat] Format", "list of other files"),
            ("[sdp] Format", "record the stream"),
            ("[srt] Format", "the video that they belong to"),
            ("[wav] Format", "sound and no pictures"),
            ("[exr_pipe] Format", "picture"),
            ("[rawvideo] Format", "-pix_fmt"),
            ("[swf] Format", "the container swf is not on the list; if you trust the file"),
            ("[v210] Codec (v210)", "the codec v210 is not on the list; if you trust the file"),
            ("Codec (jpeg2000)", "-c:v ffv1"),
        ] {
            let error = not_allowed(said, b"").to_string();
            let (ours, theirs) = error.split_once("; ffmpeg says: ").unwrap();
            assert!(ours.contains(part) && theirs == said, "{error}");
            assert!(error.len() < 400, "{error}");
        }
        let own = "it is a picture or a GIF, which cannot be read from a pipe";
        assert!(not_allowed(own, b"").to_string().ends_with(own));
        assert!(matches!(not_allowed("[yuv4mpegpipe] Format", b""), VideoError::Y4mFile { .. }));
        assert!(not_allowed("[libgme] Format", b"\x1f\x8b\x08\0").to_string().contains("unpack it"));
    }

    #[test]
    fn a_file_that_is_no_video_is_named_by_its_content() {
        let tar = [&[b'a'; 257][..], b"ustar", &[0; 20]].concat();
        for (head, part) in [
            (b"\n<!DOCTYPE HTML><html>".as_slice(), "web page"),
            (b"\xef\xbb\xbf<html>", "web page"),
            (b"PK\x03\x04\x14\0", "archive"),
            (&tar, "archive"),
            (b"%PDF-1.7\n", "PDF"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"d8:announce35:udp://tracker", "torrent"),
            (&[0; 300], "zeros"),
            ("{\"error\": \"nicht gefunden, bitte später\"}\n".as_bytes(), "text file"),
            (b"\x01\x02\x03binary", "see whether a player shows it"),
            (b"", "see whether a player shows it"),
        ] {
            let error = not_a_video(head).to_string();
            assert!(error.contains(part) && error.ends_with("; ffmpeg says: Invalid data"), "{error}");
        }
    }

    #[test]
    fn the_parts_of_a_segmented_webm_are_named() {
        assert!(matches!(not_a_video(&CLUSTER), VideoError::NoInitialization { .. }));
        assert!(matches!(not_allowed("[h263] Format", &CLUSTER), VideoError::NoInitialization { .. }));
        assert!(is_matroska_without_pictures(&[EBML, TRACKS].concat()));
        assert!(!is_matroska_without_pictures(&[EBML, [0; 4]].concat()));
        assert!(!is_matroska_without_pictures(&[EBML, TRACKS, CLUSTER].concat()));
        let long = [&EBML[..], &TRACKS, &vec![1; HEAD_BYTES as usize]].concat();
        assert!(!is_matroska_without_pictures(&long[..HEAD_BYTES as usize]));
    }

    #[test]
    fn a_failed_decode_says_what_to_do() {
        assert!(of_decoding("[h264] Cannot allocate memory").contains("max_memory_bytes"));
        assert!(of_decoding("Decoder not found").contains("install a complete ffmpeg"));
        assert!(of_decoding("Error while decoding stream #0:0").contains("damaged"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_get_advice_without_a_panic(bytes in proptest::collection::vec(0u8.., 0..400)) {
            assert!(not_a_video(&bytes).to_string().lines().count() == 1);
        }
    }
}
