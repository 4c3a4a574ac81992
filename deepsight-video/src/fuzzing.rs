//! The entry points of the fuzz targets in `fuzz/`. The tests call them too, with seeds and mutations of them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::boxes::{Boxes, children, word};
use crate::heif::HeifPicture;
use crate::scan::Packets;
use crate::still::{self, Kind};
use crate::{
    Animation, DecodeLimits, DecodeOptions, Sampling, Still, Video, Y4m, answer, asf, avi, flv, probe, seek, transport,
};

/// Reads ffprobe's JSON output and interprets it as [`Video::open`](crate::Video::open) does. Returns whether it was
/// readable.
pub fn ffprobe_json(bytes: &[u8]) -> bool {
    let read = |max_frames| {
        let mut packets = Packets::new(max_frames);
        let answer = answer::read(bytes, &mut |packet| packets.push(packet));
        answer.map(|answer| probe::conclude(answer, packets, Path::new("clip.mp4"))).is_ok()
    };
    read(3);
    read(u64::MAX)
}

/// Reads a YUV4MPEG2 stream of small frames. Returns whether it was readable to its end.
pub fn y4m(bytes: &[u8]) -> bool {
    let options = DecodeOptions::default().with_limits(DecodeLimits::default().with_max_pixels(1 << 16));
    Y4m::new_with(bytes, &options).is_ok_and(|mut frames| frames.all(|frame| frame.is_ok()))
}

/// Reads the index of an MP4 and its packets, and makes excerpts of the file, which must be MP4 files that have every
/// wanted packet. A file without boxes is looked at as a transport stream, and as an FLV, AVI and ASF file. Returns
/// whether an excerpt was made, the stream was whole, or the file describes it.
///
/// # Panics
/// Panics if an excerpt is not such a file, or if the file has another index when it is read as a stream.
pub fn mp4(bytes: &[u8]) -> bool {
    let file = TemporaryFile::new(bytes);
    let Ok(Some(boxes)) = Boxes::read(&file.0) else {
        let _ = transport::is_scrambled(&file.0);
        let mut fields = transport::CodedFields::of("h264");
        let is_frame = |picture: &[u8]| fields.is_frame(picture);
        let Ok(Some(track)) = transport::Track::of_whole(&file.0, 0x100, &[0, 564], is_frame) else {
            let sets = avi::described_sets(&file.0).unwrap_or_default();
            return flv::has_one_configuration(&file.0).is_ok_and(|has_one| has_one)
                || (avi::is_always_held_back_alike(&sets)
                    && avi::end_of_packets(&file.0).is_ok_and(|end| end.is_some()))
                || asf::length(&file.0).is_ok_and(|length| length.is_some());
        };
        let mut opened = fs::File::open(&file.0).expect("the file is there");
        let _ = track.picture(&mut opened, 564, 1 << 12);
        return true;
    };
    if let Ok(Some((Boxes { index: Some(index), .. }, _))) = Boxes::read_head(&mut &*bytes) {
        assert_eq!(boxes.index.as_ref(), Some(&index));
    }
    let options = DecodeOptions::default().with_limits(DecodeLimits::default().with_max_frames(200));
    let Some(video) = Video::by_its_index(&file.0, &boxes, &options) else { return false };
    let shown = &video.scan.shown;
    assert!(shown.windows(2).all(|pair| pair[0].time <= pair[1].time), "{shown:?}");
    let mut excerpts = 0;
    for sampling in [Sampling::evenly(3), Sampling::fps(2.0), Sampling::times([0.3, 0.9]), Sampling::all()] {
        let Some(route) = seek::free_route(&video, &sampling) else { continue };
        let ranges = route.stretches.iter().flat_map(|stretch| stretch.wanted.iter());
        let wanted: Vec<_> = ranges.flat_map(|&(first, last)| first..=last).collect();
        let Some(excerpt) = route.with_excerpt(&video).and_then(|route| route.excerpt) else { continue };
        let (frames, mut content) = excerpt.open(&file.0).expect("the file is there");
        let given = frames.iter().filter(|frame| frame.wanted).map(|frame| frame.place);
        assert!(given.eq(wanted), "{frames:?}");
        let mut excerpt = Vec::new();
        content.read_to_end(&mut excerpt).expect("the file has all packets of the excerpt");
        assert_eq!(samples_of(&excerpt), frames.len());
        excerpts += 1;
    }
    excerpts > 0
}

/// Returns the number of samples of a fragmented MP4 file.
///
/// # Panics
/// Panics if the bytes are not an index and fragments, or a fragment's packets are not as long as it says.
fn samples_of(mp4: &[u8]) -> usize {
    let (boxes, mut at) = Boxes::read_head(&mut &*mp4).expect("bytes in memory").expect("boxes");
    assert_eq!(boxes.entries.len(), 1);
    let mut count = 0;
    while at < mp4.len() as u64 {
        let rest = &mp4[at as usize..];
        let length = word(rest, 0).expect("the length of a box") as usize;
        let fragment = children(&rest[..length], b"moof").next().expect("a fragment");
        let track = children(fragment, b"traf").next().expect("a track");
        let rows = children(track, b"trun").next().expect("samples").get(12..).expect("the head of the samples");
        let sizes = rows.chunks(16).map(|row| u64::from(word(row, 4).expect("the size of a sample")));
        let packets = word(rest, length).expect("the length of the packets");
        assert_eq!(sizes.sum::<u64>() + 8, u64::from(packets));
        count += rows.len() / 16;
        at += length as u64 + u64::from(packets);
    }
    assert_eq!(at, mp4.len() as u64);
    count
}

/// Reads a still or animated picture of few pixels, upright and turned. Of an AVIF or HEIC picture, which ffmpeg
/// decodes, it reads the description. Returns whether it was readable to its end.
///
/// # Panics
/// Panics if a frame has another size than the headers say.
pub fn picture(bytes: &[u8]) -> bool {
    let file = TemporaryFile::new(bytes);
    let limits = DecodeLimits::default().with_max_pixels(1 << 15).with_max_frames(20);
    let options = DecodeOptions::default().with_limits(limits).with_turn(1);
    match still::recognize(&file.0) {
        Ok(Some(Kind::Still(format))) => {
            let Ok(still) = Still::open(&file.0, format, &options) else { return false };
            let Ok(frame) = still.frame() else { return false };
            assert_eq!(frame.image.dimensions(), (still.width(), still.height()));
            true
        }
        Ok(Some(Kind::AnimatedWebp)) => {
            let Ok(animation) = Animation::open(&file.0, &options) else { return false };
            let mut frames = animation.frames(&Sampling::all()).expect("the file is there");
            let size = (animation.width(), animation.height());
            frames.all(|frame| frame.is_ok_and(|frame| frame.image.dimensions() == size || panic!("{size:?}")))
        }
        Ok(Some(Kind::Heif(kind))) => HeifPicture::open(&file.0, kind, &options).is_ok(),
        _ => false,
    }
}

/// A file with given bytes, which is removed when this is dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(bytes: &[u8]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("deepsight-fuzzed-{}-{number}", std::process::id()));
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A file that cannot be removed stays in the system's temporary folder.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[path = "../../deepsight-core/fuzz/smoke.rs"]
mod smoke;

#[cfg(test)]
mod tests {
    #[test]
    fn a_damaged_answer_of_ffprobe_does_not_panic() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/ffprobe_json");
        super::smoke::smoke(seeds, 2000, super::ffprobe_json);
    }

    #[test]
    fn a_damaged_y4m_stream_does_not_panic() {
        super::smoke::smoke(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/y4m"), 2000, super::y4m);
    }

    #[test]
    fn a_damaged_mp4_does_not_panic_and_its_excerpts_are_whole() {
        super::smoke::smoke(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/mp4"), 1000, super::mp4);
    }

    #[test]
    fn a_damaged_picture_does_not_panic_and_has_the_size_that_its_headers_say() {
        super::smoke::smoke(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/picture"), 500, super::picture);
    }
}
