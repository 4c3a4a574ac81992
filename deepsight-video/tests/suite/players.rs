//! A clip is decoded to what a player shows: the right stream, shape, field, color and clock.

use std::path::{Path, PathBuf};

use deepsight_core::{Frame, image::RgbImage};
use deepsight_video::{DecodeLimits, DecodeOptions, Media, Note, PipedVideo, Sampling, Video, VideoError};

use crate::clips::{Clips, ramp_number, ramp_source};

fn all(video: &Video, sampling: Sampling) -> Vec<Frame> {
    video.frames(sampling).unwrap().collect::<Result<_, _>>().unwrap()
}

fn open(path: impl AsRef<Path>) -> Video {
    Video::open(path).unwrap_or_else(|error| panic!("{error}"))
}

fn indices(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.index).collect()
}

/// Mean absolute difference of two pictures of one size, in levels of 255.
fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one.as_raw().iter().zip(other.as_raw()).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    sum as f64 / one.as_raw().len() as f64
}

// ---- Which stream ----

#[test]
fn a_thumbnail_or_a_small_stream_before_the_video_is_not_taken_for_it() {
    let clips = Clips::new();
    clips.make("thumb.mp4", "-f lavfi -i color=red:s=320x240:r=1:d=1 -frames:v 1 -c:v mjpeg");
    clips.make("small.mp4", "-f lavfi -i color=red:s=32x24:r=10:d=2 -c:v libx264");
    clips.ramp("ramp.mp4", 20);
    for (first, name, streams) in
        [("thumb", "thumbed.mp4", 1), ("thumb", "thumbed.mkv", 1), ("small", "two.mp4", 2), ("small", "two.mkv", 2)]
    {
        let words = format!("-i {first}.mp4 -i ramp.mp4 -map 0 -map 1 -c copy");
        let video = open(clips.make(name, &words));
        let info = video.info();
        assert_eq!((info.stream, info.video_streams), (1, streams), "{name}");
        assert_eq!((info.width, info.frame_count), (64, 20), "{name}");
        assert!((ramp_number(&all(&video, Sampling::evenly(2))[1]) - 19.0).abs() < 0.5, "{name}");
    }
    // The stream that is marked as the default is what a player shows.
    let marked = "-i small.mp4 -i ramp.mp4 -map 0 -map 1 -c copy -disposition:0 default -disposition:1 0";
    assert_eq!(open(clips.make("marked.mkv", marked)).info().stream, 0);
}

#[test]
fn a_stream_can_be_chosen_by_its_index() {
    let clips = Clips::new();
    clips.make("small.mp4", "-f lavfi -i color=red:s=32x24:r=10:d=2 -c:v libx264");
    clips.ramp("ramp.mp4", 20);
    clips.make("sound.m4a", "-f lavfi -i sine=d=2 -c:a aac");
    let words = "-i sound.m4a -i small.mp4 -i ramp.mp4 -map 0 -map 1 -map 2 -c copy";
    let path = clips.make("three.mkv", words);
    assert_eq!(open(&path).info().stream, 2);
    let chosen = Video::open_with(&path, &DecodeOptions::default().with_stream(1)).unwrap();
    assert_eq!((chosen.info().width, chosen.info().stream), (32, 1));
    assert_eq!(all(&chosen, Sampling::evenly(2))[0].image.dimensions(), (32, 24));
    for stream in [0, 3, u32::MAX] {
        let error = Video::open_with(&path, &DecodeOptions::default().with_stream(stream)).unwrap_err();
        assert!(error.to_string().contains("choose from 1, 2"), "{error}");
    }
}

#[test]
fn streams_that_are_not_decoded_may_have_any_codec() {
    let clips = Clips::new();
    let video = format!("{} -f lavfi -i sine=d=2:r=48000 -c:v libx264 -strict -2", ramp_source(20));
    let cases = [
        ("wavpack.mkv", "-c:a wavpack".to_owned()),
        ("tta.mkv", "-c:a tta".into()),
        ("s302m.ts", "-c:a s302m -ac 2".into()),
        ("g723.mov", "-c:a g723_1 -ar 8000 -ac 1 -b:a 6300".into()),
        ("snow.mkv", "-map 0:v -map 0:v -c:v:1 snow".into()),
        ("four.mkv", "-map 0:v -map 1:a -map 1:a -map 0:v -c:a:0 tta -c:a:1 wavpack -c:v:1 snow".into()),
    ];
    for (name, words) in cases {
        let video = open(clips.make(name, &format!("{video} {words}")));
        assert_eq!((video.info().codec.as_str(), video.info().frame_count), ("h264", 20), "{name}");
        assert_eq!(all(&video, Sampling::all()).len(), 20, "{name}");
    }
    // The stream that was asked for is decoded, so it must be on the list.
    let error = Video::open_with(clips.path("snow.mkv"), &DecodeOptions::default().with_stream(1)).unwrap_err();
    assert!(matches!(&error, VideoError::NotAllowed { reason, .. } if reason.contains("snow")), "{error}");
}

/// Writes a transport stream with a teletext stream beside its video.
#[test]
fn teletext_does_no_harm() {
    let clips = Clips::new();
    let path = clips.make("sub.ts", &format!("{} -f lavfi -i sine=d=2 -c:v libx264 -c:a mp2", ramp_source(20)));
    let mut bytes = std::fs::read(&path).unwrap();
    // In the program map, the sound becomes private data with a teletext descriptor.
    let mut changed = 0;
    for packet in bytes.chunks_exact_mut(188) {
        let pid = (u16::from(packet[1]) & 0x1f) << 8 | u16::from(packet[2]);
        if pid != 0x1000 {
            continue;
        }
        let section = 5;
        let length = usize::from(packet[section + 1] & 0x0f) << 8 | usize::from(packet[section + 2]);
        let end = section + 3 + length - 4;
        let audio = (section + 12..end).find(|&at| packet[at] == 0x03 && packet[at + 1] & 0x1f == 0x01).unwrap();
        packet[audio] = 0x06;
        let descriptor = [0x56, 5, b'e', b'n', b'g', 0x09, 0x00];
        let rest = packet[audio + 5..end].to_vec();
        packet[audio + 4] = descriptor.len() as u8;
        let old = rest.len().saturating_sub(0);
        let new_length = length + descriptor.len() - old;
        packet[audio + 5..audio + 5 + descriptor.len()].copy_from_slice(&descriptor);
        packet[section + 1] = packet[section + 1] & 0xf0 | (new_length >> 8) as u8;
        packet[section + 2] = new_length as u8;
        let end = section + 3 + new_length - 4;
        let crc = crc32_mpeg(&packet[section..end]).to_be_bytes();
        packet[end..end + 4].copy_from_slice(&crc);
        packet[end + 4..].fill(0xff);
        changed += 1;
    }
    assert!(changed > 0);
    let path = clips.write("teletext.ts", &bytes);
    let video = open(&path);
    assert_eq!(all(&video, Sampling::all()).len(), 20);
}

fn crc32_mpeg(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte) << 24,
            |crc, _| {
                if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
            },
        )
    })
}

// ---- The picture ----

#[test]
fn pixels_come_out_square() {
    let clips = Clips::new();
    // A circle, squeezed in either direction.
    let circle = "color=black:s=240x240:r=10:d=0.5,geq=lum='if(lt(hypot(X-120,Y-120),90),235,16)':cb=128:cr=128";
    let squeezed = [
        ("narrow.mp4", "scale=110:240:flags=area,setsar=24/11", (240, 240)),
        ("flat.mkv", "scale=240:120:flags=area,setsar=1/2", (240, 240)),
        ("odd.mp4", "scale=160:240:flags=area,setsar=3/2", (240, 240)),
    ];
    for (name, filter, size) in squeezed {
        let words = format!("-f lavfi -i {circle} -vf {filter} -c:v libx264 -pix_fmt yuv420p");
        let video = open(clips.make(name, &words));
        assert_eq!((video.info().width, video.info().height), size, "{name}");
        assert_ne!(video.info().sample_aspect_ratio, (1, 1), "{name}");
        let image = &all(&video, Sampling::evenly(1))[0].image;
        assert_eq!(image.dimensions(), size, "{name}");
        let bright = |x, y| image.get_pixel(x, y)[0] > 128;
        let (wide, high) = ((0..240).filter(|&x| bright(x, 120)).count(), (0..240).filter(|&y| bright(120, y)).count());
        assert!(wide.abs_diff(high) <= 3 && wide.abs_diff(180) <= 3, "{name}: {wide} × {high}");
        let small = Video::open_with(clips.path(name), &DecodeOptions::default().with_max_side(120)).unwrap();
        assert_eq!((small.info().width, small.info().frame_width, small.info().frame_height), (240, 120, 120));
        assert_eq!(all(&small, Sampling::evenly(1))[0].image.dimensions(), (120, 120));
    }
    // Nobody would show a picture of 64 × 30720.
    let words = format!("{} -vf setsar=1/640 -c:v libx264", ramp_source(5));
    let video = open(clips.make("absurd.mkv", &words));
    assert_eq!((video.info().width, video.info().height), (64, 48));
    assert!(matches!(video.info().notes[..], [Note::PixelShapeIgnored { over: 1, under: 640 }]), "{:?}", video.info());
    assert!(video.info().notes[0].to_string().contains("1:640"));
}

#[test]
fn square_pixels_count_for_the_limit_on_pixels() {
    let clips = Clips::new();
    let words = format!("{} -vf setsar=8 -c:v libx264", ramp_source(5));
    let options = DecodeOptions::default().with_limits(DecodeLimits::default().with_max_pixels(64 * 48 * 4));
    let error = Video::open_with(clips.make("wide.mkv", &words), &options).unwrap_err();
    assert!(matches!(error, VideoError::OverLimit { value: 24_576, .. }), "{error}");
}

/// Joins raw H.264 streams into one in a container.
fn joined(clips: &Clips, name: &str, parts: &[&str]) -> PathBuf {
    let mut bytes = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let words = format!("-f lavfi -i {part} -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p");
        bytes.extend(std::fs::read(clips.make(&format!("part{n}.h264"), &words)).unwrap());
    }
    clips.write("parts.h264", &bytes);
    clips.make(name, "-r 10 -i parts.h264 -c copy")
}

#[test]
fn a_picture_that_turns_keeps_its_shape_within_borders() {
    let clips = Clips::new();
    let white = |size: &str| format!("color=white:s={size}:r=10:d=1");
    for name in ["turn.mkv", "turn.mp4", "turn.ts", "turn.h264", "turn.avi", "turn.flv"] {
        let video = open(joined(&clips, name, &[&white("160x96"), &white("96x160")]));
        assert_eq!((video.info().width, video.info().height), (160, 160), "{name}");
        let frames = all(&video, Sampling::all());
        assert_eq!(indices(&frames), (0..20).collect::<Vec<_>>(), "{name}");
        for frame in &frames {
            assert_eq!(frame.image.dimensions(), (160, 160), "{name}");
            let bright = |x, y| frame.image.get_pixel(x, y)[0] > 200;
            let (wide, high) =
                ((0..160).filter(|&x| bright(x, 80)).count(), (0..160).filter(|&y| bright(80, y)).count());
            let expected = if frame.index < 10 { (160, 96) } else { (96, 160) };
            assert_eq!((wide, high), expected, "{name}: frame {}", frame.index);
        }
        assert_eq!(indices(&all(&video, Sampling::evenly(3))), [0, 9, 19], "{name}");
    }
}

#[test]
fn a_size_that_vp8_changes_is_seen() {
    let clips = Clips::new();
    let mut bytes = Vec::new();
    for (n, size) in ["96x64", "64x96"].into_iter().enumerate() {
        let words = format!("-f lavfi -i color=white:s={size}:r=10:d=1 -c:v libvpx -deadline realtime -cpu-used 8");
        let part = std::fs::read(clips.make(&format!("part{n}.ivf"), &words)).unwrap();
        // The head of the file, then frames of which each has its length and its time before it.
        bytes.extend(if n == 0 { &part[..32] } else { &[] });
        let mut frames = &part[32..];
        while let Some(length) = frames.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) {
            let time = u64::from_le_bytes(frames[4..12].try_into().unwrap()) + n as u64 * 10;
            bytes.extend([&frames[..4], &time.to_le_bytes(), &frames[12..12 + length]].concat());
            frames = &frames[12 + length..];
        }
    }
    clips.write("turn.ivf", &bytes);
    let of_webm = clips.make("turn.webm", "-i turn.ivf -c copy");
    for path in [clips.path("turn.ivf"), of_webm] {
        let video = open(&path);
        let info = video.info();
        assert_eq!((info.width, info.height, info.frame_count), (96, 96, 20), "{}", path.display());
        let frames = all(&video, Sampling::all());
        let bright = |frame: &Frame, x, y| frame.image.get_pixel(x, y)[0] > 200;
        assert_eq!((bright(&frames[5], 2, 48), bright(&frames[5], 48, 2)), (true, false), "{}", path.display());
        assert_eq!((bright(&frames[15], 2, 48), bright(&frames[15], 48, 2)), (false, true), "{}", path.display());
    }
}

#[test]
fn a_picture_that_grows_is_not_shrunk_to_its_first_size() {
    let clips = Clips::new();
    let video = open(joined(
        &clips,
        "grow.mkv",
        &["testsrc=s=64x36:r=10:d=1", "testsrc=s=160x90:r=10:d=1", "testsrc=s=320x180:r=10:d=1"],
    ));
    assert_eq!((video.info().width, video.info().height, video.info().frame_count), (320, 180, 30));
    let grown = all(&video, Sampling::all());
    let alone = open(clips.path("part2.h264"));
    assert_eq!(grown[25].image, all(&alone, Sampling::all())[5].image, "the largest pictures are as they were");
    // One large key frame among many is found, and so is a turn that comes back.
    let words = "-f lavfi -i testsrc=s=64x36:r=10:d=8 -c:v libx264 -bf 0 -g 1 -pix_fmt yuv420p";
    let many = std::fs::read(clips.make("many.h264", words)).unwrap();
    clips.write("parts.h264", &[many.clone(), std::fs::read(clips.path("part2.h264")).unwrap(), many].concat());
    for name in ["middle.mkv", "middle.avi"] {
        let video = open(clips.make(name, "-r 10 -i parts.h264 -c copy"));
        assert_eq!((video.info().width, video.info().height, video.info().frame_count), (320, 180, 170), "{name}");
    }
}

#[test]
fn a_size_that_nobody_looked_at_is_fitted_without_harm() {
    let clips = Clips::new();
    // One large picture among a hundred small key frames.
    let words = "-f lavfi -i color=white:s=64x36:r=25:d=2 -c:v mjpeg -pix_fmt yuvj420p";
    let many = std::fs::read(clips.make("many.mjpeg", words)).unwrap();
    let words = "-f lavfi -i color=white:s=96x160:r=25:d=0.04 -c:v mjpeg -pix_fmt yuvj420p";
    let one = std::fs::read(clips.make("one.mjpeg", words)).unwrap();
    clips.write("parts.mjpeg", &[many.clone(), one, many].concat());
    let video = open(clips.make("hidden.avi", "-r 25 -i parts.mjpeg -c copy"));
    assert_eq!((video.info().width, video.info().height), (64, 36));
    let frames = all(&video, Sampling::all());
    assert_eq!(frames.len(), 101);
    assert!(frames.iter().all(|frame| frame.image.dimensions() == (video.info().width, video.info().height)));
    let image = &frames[50].image;
    let (width, height) = image.dimensions();
    let bright = |x, y| image.get_pixel(x, y)[0] > 200;
    let (wide, high) =
        ((0..width).filter(|&x| bright(x, height / 2)).count(), (0..height).filter(|&y| bright(width / 2, y)).count());
    assert!(high == 36 && wide.abs_diff(22) < 2, "{wide} × {high} of {width} × {height}");
}

#[test]
fn ordinary_clips_are_what_ffmpeg_gives_with_a_plain_conversion() {
    let clips = Clips::new();
    let source = "-f lavfi -i testsrc2=s=160x120:r=10:d=1";
    let cases = [
        ("plain.mp4", "-c:v libx264 -pix_fmt yuv420p"),
        ("full.mp4", "-c:v libx264 -pix_fmt yuvj420p"),
        ("keys.mkv", "-c:v libx264 -pix_fmt yuv420p -g 2"),
        ("mpeg4.avi", "-c:v mpeg4 -bf 2"),
        ("mjpeg.avi", "-c:v mjpeg -pix_fmt yuvj422p"),
        ("mpeg2.ts", "-c:v mpeg2video -r 25"),
        ("ffv1.mkv", "-c:v ffv1 -pix_fmt yuv444p"),
        ("deep.mov", "-c:v prores_ks -pix_fmt yuv422p10le"),
        ("wmv2.wmv", "-c:v wmv2"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime"),
        ("gif.gif", ""),
    ];
    for (name, codec) in cases {
        let path = clips.make(name, &format!("{source} {codec}"));
        let words = format!("-i {name} -an -vf scale=160:120:flags=bicubic,format=rgb24 -f rawvideo");
        let plain = std::fs::read(clips.make_uneven(&format!("{name}.rgb"), &words)).unwrap();
        let frames = all(&open(path), Sampling::all());
        let ours: Vec<u8> = frames.iter().flat_map(|frame| frame.image.as_raw().clone()).collect();
        assert_eq!(ours.len(), plain.len(), "{name}");
        assert!(ours == plain, "{name}");
    }
}

#[test]
fn interlaced_frames_are_deinterlaced() {
    let clips = Clips::new();
    // A bar that moves by eight pixels a field has torn edges in an interlaced frame.
    let bar = "color=black:s=320x120:r=50:d=2,geq=lum='if(between(X-mod(8*N\\,240)\\,20\\,60),235,16)':cb=128:cr=128";
    let cases = [
        ("field.mp4", "-c:v libx264 -x264opts tff=1 -flags +ildct+ilme"),
        ("field.mkv", "-c:v libx264 -x264opts tff=1 -flags +ildct+ilme"),
        ("field.ts", "-c:v mpeg2video -q:v 2 -flags +ildct+ilme -top 1"),
        ("field.avi", "-c:v mpeg4 -q:v 2 -flags +ildct -top 1"),
    ];
    for (name, codec) in cases {
        let interlace = "tinterlace=interleave_top,setfield=tff";
        let words = format!("-f lavfi -i {bar} -vf {interlace} {codec} -pix_fmt yuv420p");
        let path = clips.make(name, &words);
        let video = open(&path);
        let frames = all(&video, Sampling::all());
        assert_eq!((video.info().frame_count, frames.len()), (50, 50), "{name}");
        assert_eq!(indices(&frames), (0..50).collect::<Vec<_>>(), "{name}");
        for pair in frames.windows(2) {
            assert!((pair[1].time - pair[0].time - 0.04).abs() < 1e-3, "{name}: {pair:?}");
        }
        let torn = |image: &RgbImage| {
            let rows = 20..100;
            let row = |x: u32, y: u32| f64::from(image.get_pixel(x, y)[0]);
            rows.flat_map(|y| (0..320).map(move |x| (x, y)))
                .map(|(x, y)| (row(x, y) - (row(x, y - 1) + row(x, y + 1)) / 2.0).abs())
                .sum::<f64>()
        };
        let words = format!("-i {name} -vf scale=320:120:flags=bicubic,format=rgb24 -f rawvideo");
        let woven = std::fs::read(clips.make(&format!("{name}.rgb"), &words)).unwrap();
        let woven = RgbImage::from_raw(320, 120, woven[20 * 320 * 120 * 3..][..320 * 120 * 3].to_vec()).unwrap();
        let (before, after) = (torn(&woven), torn(&frames[20].image));
        assert!(before > 100_000.0 && after < before / 5.0, "{name}: {before} {after}");
        assert_eq!(indices(&all(&video, Sampling::evenly(3))), [0, 24, 49], "{name}");
    }
}

/// High dynamic range is converted to within 3 of 255 levels on average of the original in standard range, with zscale
/// and without.
#[cfg(unix)]
#[test]
fn high_dynamic_range_is_mapped_to_standard_range() {
    let clips = Clips::new();
    // Colors and brightness as on faces, up to white.
    let source = "-f lavfi -i color=s=320x240:r=10:d=0.5,format=yuv444p,\
                  geq=lum='20+200*X/W':cb='105+25*Y/H':cr='128+30*Y/H'";
    let tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv";
    let original = clips.make("sdr.mkv", &format!("{source} -vf format=yuv444p,{tags} -c:v ffv1"));
    let original = all(&open(original), Sampling::all());
    for (name, transfer) in [("pq.mkv", "smpte2084"), ("hlg.mkv", "arib-std-b67")] {
        let up = format!(
            "format=yuv444p,{tags},zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt2020,\
             zscale=t={transfer}:m=bt2020nc:r=tv:npl=100,format=yuv420p10le"
        );
        let params = format!("colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:log-level=error:crf=8");
        let path = clips.make(name, &format!("{source} -vf {up} -c:v libx265 -x265-params {params}"));
        let without_zscale = DecodeOptions::default()
            .with_ffmpeg(ffmpeg_without(&clips, &format!("no_zscale_{name}"), "zscale|tonemap"))
            .with_ffprobe("ffprobe");
        let by_tables = Video::open_with(&path, &without_zscale).unwrap();
        for video in [open(&path), by_tables] {
            assert!(video.info().notes.is_empty(), "{name}: {:?}", video.info());
            let frames = all(&video, Sampling::all());
            assert_eq!(frames.len(), 5, "{name}");
            for (frame, original) in frames.iter().zip(&original) {
                let off = difference(&frame.image, &original.image);
                assert!(off < 3.0, "{name}: frame {} is off by {off}", frame.index);
            }
        }
    }
}

/// A program that calls ffmpeg, but does not list some filters.
#[cfg(unix)]
fn ffmpeg_without(clips: &Clips, name: &str, filters: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *-filters*) ffmpeg \"$@\" | grep -vE ' ({filters}) '; exit 0;; esac\n\
         exec ffmpeg \"$@\"\n"
    );
    let program = clips.write(name, text.as_bytes());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[cfg(unix)]
#[test]
fn an_ffmpeg_without_tone_mapping_is_told() {
    let clips = Clips::new();
    let tags = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc";
    let path = clips.make("pq.mkv", &format!("{} -vf {tags} -c:v ffv1", ramp_source(5)));
    let old = ffmpeg_without(&clips, "old", "zscale|tonemap|lutrgb");
    let options = DecodeOptions::default().with_ffmpeg(old).with_ffprobe("ffprobe");
    let video = Video::open_with(&path, &options).unwrap();
    let notes = &video.info().notes;
    assert!(matches!(&notes[..], [Note::NotToneMapped { transfer }] if transfer == "smpte2084"), "{notes:?}");
    assert!(notes[0].to_string().contains("zscale"), "{}", notes[0]);
    assert_eq!(all(&video, Sampling::all()).len(), 5);
    assert!(open(&path).info().notes.is_empty());
}

// ---- The clock ----

/// Joins transport streams whose clocks start at these seconds.
fn transport(clips: &Clips, name: &str, starts: &[u32]) -> PathBuf {
    let mut bytes = Vec::new();
    for start in starts {
        let words = format!("{} -c:v libx264 -bf 2 -pix_fmt yuv420p -output_ts_offset {start}", ramp_source(20));
        bytes.extend(std::fs::read(clips.make(&format!("at{start}.ts"), &words)).unwrap());
    }
    clips.write(name, &bytes)
}

#[test]
fn a_clock_that_jumps_forward_or_back_is_bridged() {
    let clips = Clips::new();
    for (name, starts) in [("forward.ts", [5, 36_000]), ("back.ts", [100, 3]), ("both.ts", [7, 40_000])] {
        let video = open(transport(&clips, name, &starts));
        let info = video.info();
        assert_eq!((info.frame_count, info.variable_frame_rate), (40, false), "{name}");
        assert!((info.duration - 4.0).abs() < 0.15, "{name}: {info:?}");
        let frames = all(&video, Sampling::all());
        for (n, frame) in frames.iter().enumerate() {
            assert!((frame.time - n as f64 / 10.0).abs() < 0.01, "{name}: frame {n} at {}", frame.time);
            assert!((ramp_number(frame) - (n % 20) as f64).abs() < 0.5, "{name}: {frame:?}");
        }
        assert_eq!(indices(&all(&video, Sampling::fps(1.0))), [0, 10, 20, 30], "{name}");
        assert_eq!(indices(&all(&video, Sampling::evenly(4))), [0, 13, 26, 39], "{name}");
        assert_eq!(indices(&all(&video, Sampling::times([0.05, 2.55, 3.2]))), [0, 25, 32], "{name}");
    }
}

#[test]
fn a_stream_that_ran_for_a_day_starts_at_zero() {
    let clips = Clips::new();
    let words = format!(
        "{} -c:v libx264 -g 10 -output_ts_offset 90000 -movflags frag_keyframe+empty_moov+default_base_moof",
        ramp_source(20)
    );
    let video = open(clips.make("late.mp4", &words));
    let info = video.info();
    assert!((info.duration - 2.0).abs() < 0.11 && info.declared_frames.is_none(), "{info:?}");
    let frames = all(&video, Sampling::evenly(3));
    assert_eq!(indices(&frames), [0, 9, 19]);
    assert!((frames[0].time, frames[2].time) == (0.0, 1.9), "{frames:?}");
}

#[test]
fn segments_with_their_initialization_are_a_video_that_is_not_cut_short() {
    let clips = Clips::new();
    let words =
        format!("{} -c:v libx264 -g 10 -f dash -seg_duration 1 -use_template 1 -use_timeline 0", ramp_source(50));
    clips.make("stream.mpd", &words);
    let segment = |name: &str| std::fs::read(clips.path(name)).unwrap();
    let (third, fourth) = (segment("chunk-stream0-00003.m4s"), segment("chunk-stream0-00004.m4s"));
    let path = clips.write("some.mp4", &[segment("init-stream0.m4s"), third.clone(), fourth].concat());
    let video = open(path);
    let info = video.info();
    assert_eq!((info.frame_count, info.declared_frames, info.declared_duration), (20, None, None));
    assert!((info.duration - 2.0).abs() < 0.11, "{info:?}");
    let frames = all(&video, Sampling::all());
    assert_eq!((frames.len(), frames[0].time), (20, 0.0));

    let error = Video::open(clips.write("third.m4s", &third)).unwrap_err();
    assert!(matches!(error, VideoError::NoInitialization { .. }), "{error}");
}

#[test]
fn frames_are_spread_over_time_where_the_rate_changes() {
    let clips = Clips::new();
    // Four seconds at 30 per second and four seconds at 2 per second.
    let uneven = "setpts='if(lt(N,120),N/30,4+(N-120)/2)/TB'";
    for name in ["rates.mp4", "rates.mkv"] {
        let words = format!("-f lavfi -i color=s=64x48:r=30:d=4.26 -vf settb=1/1000,{uneven} -c:v libx264");
        let video = open(clips.make_uneven(name, &words));
        assert_eq!((video.info().frame_count, video.info().variable_frame_rate), (128, true), "{name}");
        let frames = all(&video, Sampling::evenly(16));
        let late = frames.iter().filter(|frame| frame.time >= 4.0 - 1e-3).count();
        assert_eq!((frames.len(), late), (16, 8), "{name}: {frames:?}");
        assert!(frames.windows(2).all(|pair| pair[1].time - pair[0].time > 0.3), "{name}: {frames:?}");
    }
}

#[test]
fn frames_at_times_are_those_that_are_shown_then() {
    let clips = Clips::new();
    let video = open(clips.ramp("ramp.mp4", 40));
    let frames = video.frames(Sampling::times([3.05, 0.0, 0.1, 0.19, 1.5, 99.0])).unwrap();
    assert_eq!(frames.expected_frames(), 5);
    let frames: Vec<_> = frames.collect::<Result<_, _>>().unwrap();
    assert_eq!(indices(&frames), [0, 1, 15, 30, 39]);
    assert!(frames.iter().all(|frame| (ramp_number(frame) - frame.index as f64).abs() < 0.5), "{frames:?}");
    // More times than fit into the filter one by one.
    let long = open(clips.make("long.mp4", "-f lavfi -i color=s=16x16:r=100:d=90 -c:v libx264 -preset ultrafast"));
    let times: Vec<f64> = (0..3000).map(|n| f64::from(n) * 0.03).collect();
    let frames = all(&long, Sampling::times(times));
    assert_eq!(indices(&frames), (0..3000).map(|n| n * 3).collect::<Vec<_>>());
}

// ---- What is missing ----

#[test]
fn a_download_cut_at_a_quarter_says_how_long_it_should_be() {
    let clips = Clips::new();
    let busy = "-f lavfi -i testsrc2=s=160x120:r=10:d=20 -c:v libx264 -g 10 -pix_fmt yuv420p";
    for (name, extra) in [
        ("cut.mkv", ""),
        ("cut.mp4", "-movflags +faststart"),
        ("cut.avi", "-bf 0"),
        ("between.avi", "-bf 2"),
        // The file states a number of frames that includes those that were left out.
        ("uneven.avi", "-vf select='not(eq(mod(n,7),3))' -fps_mode vfr"),
        ("cut.flv", ""),
        ("cut.wmv", "-c:v wmv2"),
        ("cut.apng", "-c:v apng -pix_fmt rgb24"),
    ] {
        let whole = std::fs::read(clips.make(name, &format!("{busy} {extra}"))).unwrap();
        assert_eq!(open(clips.path(name)).info().declared_duration, None, "{name}");
        let info = open(clips.write(name, &whole[..whole.len() * 26 / 100])).info().clone();
        let declared = info.declared_duration.unwrap_or_else(|| panic!("{name}: {info:?}"));
        assert!((declared - 20.0).abs() < 0.3, "{name}: {info:?}");
        let share = info.duration / declared;
        assert!((0.15..0.4).contains(&share), "{name}: {share}");
    }
}

#[test]
fn a_recording_whose_last_frames_were_left_out_is_whole() {
    let clips = Clips::new();
    let mut avi = std::fs::read(clips.make("clip.avi", &format!("{} -c:v mjpeg", ramp_source(20)))).unwrap();
    let length = avi.windows(4).position(|window| window == b"strh").unwrap() + 40;
    assert_eq!(avi[length..length + 4], 20u32.to_le_bytes());
    avi[length..length + 4].copy_from_slice(&40u32.to_le_bytes());
    assert_eq!(open(clips.write("whole.avi", &avi)).info().declared_frames, None);
    // Without the index at its end, the same file is cut short.
    avi.truncate(avi.len() - 30);
    assert_eq!(open(clips.write("cut.avi", &avi)).info().declared_frames, Some(40));
}

#[test]
fn an_avi_or_apng_that_lost_a_part_but_not_its_size_is_cut_short() {
    let clips = Clips::new();
    let source = "-f lavfi -i testsrc2=s=320x240:r=10:d=20,noise=alls=20:allf=t";
    for (codec, name) in [("mjpeg -q:v 2", "mjpeg.avi"), ("libx264 -pix_fmt yuv420p -g 10", "h264.avi")] {
        let path = clips.make(name, &format!("{source} -c:v {codec}"));
        assert_eq!(open(&path).info().declared_duration, None, "{name}");
        for (from, to) in [(0.3, 0.7), (0.5, 1.0)] {
            let bytes = with_zeros(&path, from, to);
            let info = open(clips.write("damaged.avi", &bytes)).info().clone();
            let declared = info.declared_duration.unwrap_or_else(|| panic!("{name} {from}: {info:?}"));
            let share = info.duration / declared;
            assert!((declared - 20.0).abs() < 0.5 && (0.4..0.75).contains(&share), "{name} {from}: {info:?}");
        }
    }
    // An animated PNG that states too many frames, but has its end.
    let mut png = std::fs::read(clips.make("clip.apng", &format!("{} -c:v apng", ramp_source(10)))).unwrap();
    let frames = png.windows(4).position(|window| window == b"acTL").unwrap() + 4;
    for stated in [12, u32::MAX] {
        png[frames..frames + 4].copy_from_slice(&stated.to_be_bytes());
        let check = crc(&png[frames - 4..frames + 8]);
        png[frames + 8..frames + 12].copy_from_slice(&check.to_be_bytes());
        assert_eq!(open(clips.write("stated.apng", &png)).info().declared_frames, None, "{stated}");
    }
}

/// The checksum of a chunk of a PNG.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn frames_are_found_by_their_times_where_a_tick_of_the_clock_is_a_frame() {
    let clips = Clips::new();
    for (name, words) in [
        ("mjpeg.avi", "-c:v mjpeg"),
        ("h264.avi", "-c:v libx264 -pix_fmt yuv420p"),
        ("hevc.avi", "-c:v libx265 -x265-params log-level=error -tag:v HEVC -pix_fmt yuv420p"),
        ("mpeg2.avi", "-c:v mpeg2video -bf 2 -r 25"),
        ("coarse.mp4", "-c:v libx264 -pix_fmt yuv420p -video_track_timescale 25"),
    ] {
        let source = "-f lavfi -i testsrc=s=64x48:r=25:d=3";
        let video = open(clips.make(name, &format!("{source} {words}")));
        assert!((video.info().duration - 3.0).abs() < 1e-3, "{name}: {:?}", video.info());
        let frames = all(&video, Sampling::all());
        assert!(frames[0].time == 0.0 && (frames[74].time - 2.96).abs() < 0.041, "{name}: {}", frames[74].time);
        assert_eq!(
            indices(&all(&video, Sampling::times([10, 11, 40].map(|n| frames[n].time)))),
            [10, 11, 40],
            "{name}"
        );
        assert_eq!(indices(&all(&video, Sampling::fps(1.0))), [0, 25, 50], "{name}");
    }
}

/// Twenty seconds at 25 frames a second, with a key frame every two seconds.
const BUSY: &str = "-f lavfi -i testsrc2=s=160x120:r=25:d=20 -c:v libx264 -g 50 -sc_threshold 0 -pix_fmt yuv420p";

/// Returns the gaps of a file as whole tenths of a second.
fn gaps(path: &Path) -> Vec<(i64, i64)> {
    let tenths = |seconds: f64| (seconds * 10.0).round() as i64;
    let video = open(path);
    assert_eq!(video.input().gaps, video.info().gaps, "the analysis gets them");
    video.info().gaps.iter().map(|gap| (tenths(gap.start), tenths(gap.end))).collect()
}

/// Returns the bytes of a file with zeros from one share of them to another.
fn with_zeros(path: &Path, from: f64, to: f64) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let at = |share: f64| (bytes.len() as f64 * share) as usize;
    let range = at(from)..at(to);
    bytes[range].fill(0);
    bytes
}

#[test]
fn a_damaged_middle_is_a_gap() {
    let clips = Clips::new();
    let source = "-f lavfi -i testsrc2=s=160x120:r=25:d=20";
    let encoder = BUSY.strip_prefix(source).unwrap();
    for (name, inputs) in [("plain.mkv", ""), ("sound.mkv", "-f lavfi -i sine=d=20"), ("plain.webm", "")] {
        let encoder = if name.ends_with("webm") { "-c:v libvpx -deadline realtime -g 50" } else { encoder };
        let path = clips.make(name, &format!("{source} {inputs} {encoder} -cluster_time_limit 1000"));
        assert_eq!(gaps(&path), [], "{name}");
        let found = gaps(&clips.write(name, &with_zeros(&path, 0.3, 0.7)));
        let [(start, end)] = found[..] else { panic!("{name}: {found:?}") };
        assert!((30..=90).contains(&start) && (110..=180).contains(&end), "{name}: {start} to {end}");
    }
}

#[test]
fn missing_segments_of_a_stream_are_gaps() {
    let clips = Clips::new();
    for bframes in [0, 2] {
        let words = format!("{BUSY} -bf {bframes} -f dash -seg_duration 2 -use_template 1 -use_timeline 0");
        clips.make(&format!("stream{bframes}.mpd"), &words);
        let part = |name: &str| std::fs::read(clips.path(name)).unwrap();
        let segment = |n: u32| part(&format!("chunk-stream0-{n:05}.m4s"));
        let joined = |segments: &[u32]| {
            let segments: Vec<_> = segments.iter().map(|&n| segment(n)).collect();
            clips.write("joined.mp4", &[part("init-stream0.m4s"), segments.concat()].concat())
        };
        assert_eq!(gaps(&joined(&[1, 7])), [(20, 120)]);
        assert_eq!(gaps(&joined(&[1, 3, 5, 7, 9])), [(20, 40), (60, 80), (100, 120), (140, 160)]);
        assert_eq!(gaps(&joined(&[1, 2, 3])), []);
        assert_eq!(gaps(&joined(&[3, 4])), [], "some segments of a stream are not a video with a hole");
    }
    // Segments of a broadcast that are joined without one of them.
    let words = format!("{BUSY} -f segment -segment_time 4 -segment_format mpegts");
    clips.make("part%d.ts", &words);
    let part = |n: u32| std::fs::read(clips.path(&format!("part{n}.ts"))).unwrap();
    let found = gaps(&clips.write("joined.ts", &[part(0), part(2), part(3)].concat()));
    let [(start, end)] = found[..] else { panic!("{found:?}") };
    assert!(start.abs_diff(40) < 3 && end.abs_diff(80) < 3, "{found:?}");
}

#[test]
fn a_picture_that_stays_is_no_gap() {
    let clips = Clips::new();
    let source = "-f lavfi -i testsrc2=s=160x120:r=30:d=20";
    let slow = "-vf select='lt(t\\,10)+not(mod(n\\,15))'";
    let stays = "-vf select='lt(t\\,10)+gt(t\\,15)'";
    for name in ["uneven.mp4", "uneven.mkv", "uneven.webm", "uneven.mov"] {
        let codec =
            if name.ends_with("webm") { "libvpx -deadline realtime" } else { "libx264 -g 1000 -sc_threshold 0" };
        for filter in [slow, stays] {
            let path = clips.make_uneven(name, &format!("{source} {filter} -c:v {codec}"));
            assert!(open(&path).info().variable_frame_rate, "{name}");
            assert_eq!(gaps(&path), [], "{name} {filter}");
        }
    }
    // Slides, each of which is a key frame.
    for name in ["slides.mp4", "slides.mkv", "slides.gif"] {
        let words = "-f lavfi -i testsrc2=s=160x120:r=1:d=60 -vf select='not(mod(n\\,7)*mod(n\\,5))'";
        let codec = if name.ends_with("gif") { "" } else { "-c:v libx264 -g 1" };
        assert_eq!(gaps(&clips.make_uneven(name, &format!("{words} {codec}"))), [], "{name}");
    }
    // The index of an MP4 states how long each picture is shown, even a key frame.
    let path = clips.make_uneven("stays.mp4", &format!("{source} {stays} -c:v libx264 -g 1"));
    assert_eq!(gaps(&path), []);
}

#[test]
fn a_transport_stream_that_cannot_be_read_to_its_end_says_how_long_it_should_be() {
    let clips = Clips::new();
    let path = clips.make("whole.ts", BUSY);
    assert_eq!((open(&path).info().declared_duration, gaps(&path)), (None, vec![]));
    let noise = "-f lavfi -i testsrc2=s=320x240:r=25:d=20,noise=alls=60:allf=t -c:v libx264 -g 50 -pix_fmt yuv420p";
    let path = clips.make("large.ts", noise);
    let info = open(clips.write("holed.ts", &with_zeros(&path, 0.3, 0.9))).info().clone();
    let declared = info.declared_duration.unwrap_or_else(|| panic!("{info:?}"));
    assert!((12.0..30.0).contains(&declared) && info.duration < 0.5 * declared, "{info:?}");
}

#[test]
fn frames_that_cannot_be_decoded_in_the_middle_end_in_an_error() {
    let clips = Clips::new();
    let path = clips.make("whole.mp4", &format!("{BUSY} -movflags +faststart"));
    let video = open(clips.write("holed.mp4", &with_zeros(&path, 0.3, 0.7)));
    let frames: Vec<_> = video.frames(Sampling::evenly(40)).unwrap().collect();
    let times: Vec<f64> = frames.iter().filter_map(|frame| Some(frame.as_ref().ok()?.time)).collect();
    assert!(frames.last().unwrap().is_err(), "so that the analysis looks for times without frames");
    assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 4.0), "{times:?}");
}

#[test]
fn the_description_of_a_file_names_its_stream_and_what_a_player_would_show() {
    let clips = Clips::new();
    clips.make("small.mp4", "-f lavfi -i color=red:s=32x24:r=10:d=2 -c:v libx264");
    clips.ramp("ramp.mp4", 20);
    let path = clips.make("two.mkv", "-i small.mp4 -i ramp.mp4 -map 0 -map 1 -c copy -disposition:1 default");
    let of = |path: &Path| Media::open(path).unwrap().input();
    let input = of(&path);
    assert_eq!((input.stream, input.video_streams, input.width), (Some(1), Some(2), Some(64)));
    let piped = PipedVideo::open(std::fs::File::open(&path).unwrap(), &DecodeOptions::default(), Sampling::all());
    assert_eq!(piped.unwrap().input().video_streams, Some(2));
    let odd = of(&clips.make("odd.mkv", &format!("{} -vf setsar=40/1 -c:v libx264", ramp_source(5))));
    assert_eq!((odd.stream, odd.video_streams, odd.picture_notes.len()), (Some(0), Some(1), 1));
    assert!(odd.picture_notes[0].contains("40:1"), "{odd:?}");
    let y4m = clips.make("fields.y4m", &format!("{} -vf setfield=tff -pix_fmt yuv420p", ramp_source(5)));
    let piped = PipedVideo::open(std::fs::File::open(y4m).unwrap(), &DecodeOptions::default(), Sampling::all());
    let notes = piped.unwrap().input().picture_notes;
    assert!(notes.len() == 1 && notes[0].contains("interlaced"), "{notes:?}");
    assert!(of(&clips.path("ramp.mp4")).picture_notes.is_empty());
}

#[test]
fn files_that_cannot_be_played_say_what_is_missing() {
    let clips = Clips::new();
    let whole = std::fs::read(clips.ramp("whole.mp4", 40)).unwrap();
    let open_error = |path: &Path| {
        let error = Video::open(path).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    };
    let error = open_error(&clips.write("cut.mp4", &whole[..whole.len() / 2]));
    assert!(matches!(error, VideoError::NoIndex { .. }) && error.to_string().contains("moov"), "{error}");
    let key = "-encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb \
               -encryption_kid a7e61c373e219033c21091fa607bf3b8";
    let path = clips.make("locked.mp4", &format!("{} -c:v libx264 {key}", ramp_source(10)));
    assert!(matches!(open_error(&path), VideoError::Encrypted { .. }));
    for path in [scrambled_transport_stream(&clips), encrypted_matroska(&clips)] {
        let error = open_error(&path);
        assert!(matches!(error, VideoError::Encrypted { .. }), "{error}");
    }
    for address in ["https://example.org/clip.mp4", "rtsp://10.0.0.1/live"] {
        let error = open_error(Path::new(address));
        assert!(matches!(error, VideoError::WebAddress { .. }) && error.to_string().contains("download"), "{error}");
    }
    assert!(open_error(&clips.path("")).to_string().contains("give the video files in it"));
}

/// A transport stream whose video nobody without the key can read.
fn scrambled_transport_stream(clips: &Clips) -> PathBuf {
    let mut bytes = std::fs::read(clips.make("clear.ts", &format!("{} -c:v libx264", ramp_source(10)))).unwrap();
    for packet in bytes.chunks_mut(188).filter(|packet| packet[1] & 0x1f == 1 && packet[2] == 0) {
        packet[3] |= 0x80;
        packet[30..].iter_mut().for_each(|byte| *byte ^= 0x5a);
    }
    clips.write("scrambled.ts", &bytes)
}

/// A Matroska file that says that its video is encrypted, in the place of its title.
fn encrypted_matroska(clips: &Clips) -> PathBuf {
    let title = "t".repeat(64);
    let words = format!("{} -metadata:s:v title={title} -c:v libx264", ramp_source(10));
    let mut bytes = std::fs::read(clips.make("clear.mkv", &words)).unwrap();
    let start = bytes.windows(64).position(|window| window == title.as_bytes()).unwrap() - 3;
    let element = |id: &[u8], content: &[u8]| [id, &[0x80 | content.len() as u8], content].concat();
    let cipher = [element(&[0x47, 0xe1], &[5]), element(&[0x47, 0xe2], &[7; 16])].concat();
    let encoding = [element(&[0x50, 0x33], &[1]), element(&[0x50, 0x35], &cipher)].concat();
    let encodings = element(&[0x6d, 0x80], &element(&[0x62, 0x40], &encoding));
    let empty = element(&[0xec], &vec![0; 3 + 64 - encodings.len() - 2]);
    bytes[start..start + 3 + 64].copy_from_slice(&[encodings, empty].concat());
    clips.write("encrypted.mkv", &bytes)
}
