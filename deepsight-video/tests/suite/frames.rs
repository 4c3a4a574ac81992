//! Decoding of valid videos: which frames are returned, their times and their orientation.

use crate::clips::{Clips, ffprobe_times, ramp_number, ramp_source};
use deepsight_core::{Frame, image::imageops};
use deepsight_video::{DecodeOptions, Frames, Sampling, Video};

fn all(video: &Video, sampling: Sampling) -> Vec<Frame> {
    video.frames(sampling).unwrap().collect::<Result<_, _>>().unwrap()
}

fn indices(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.index).collect()
}

#[test]
fn each_sampling_gives_the_expected_frames() {
    let clips = Clips::new();
    let video = Video::open(clips.ramp("ramp.mp4", 40)).unwrap();
    assert_eq!(video.info().frame_count, 40);
    let cases = [
        (Sampling::evenly(5), vec![0, 9, 19, 29, 39]),
        (Sampling::evenly(9).with_max_frames(2), vec![0, 39]),
        (Sampling::evenly(1), vec![0]),
        (Sampling::every(15), vec![0, 15, 30]),
        (Sampling::every(7).with_max_frames(3), vec![0, 7, 14]),
        (Sampling::fps(2.0), vec![0, 5, 10, 15, 20, 25, 30, 35]),
        (Sampling::fps(2.0).with_max_frames(2), vec![0, 5]),
        (Sampling::fps(1000.0), (0..40).collect()),
        (Sampling::all(), (0..40).collect()),
        (Sampling::evenly(1000), (0..40).collect()),
    ];
    for (sampling, expected) in cases {
        assert_eq!(video.frames(sampling.clone()).unwrap().expected_frames(), expected.len() as u64, "{sampling:?}");
        let frames = all(&video, sampling.clone());
        assert_eq!(indices(&frames), expected, "{sampling:?}");
        for frame in &frames {
            // The picture belongs to the index.
            assert!((ramp_number(frame) - frame.index as f64).abs() < 0.5, "{sampling:?}: {frame:?}");
            assert!((frame.time - frame.index as f64 / 10.0).abs() < 1e-6, "{sampling:?}: {frame:?}");
        }
    }
}

#[test]
fn pictures_and_indices_agree_for_awkward_samplings() {
    let clips = Clips::new();
    // ffmpeg selects the pictures, and this crate the indices. A difference in their arithmetic fails this test.
    let uneven = "setpts='(N*1001/30000+0.004*mod(N*7,5))/TB'";
    let path = clips.make_uneven("awkward.mkv", &format!("{} -vf {uneven} -c:v libx264", ramp_source(40)));
    let video = Video::open(path).unwrap();
    let rates = [0.7, 7.3, 12.5, 23.976, 29.97, 60.0].map(Sampling::fps);
    let counts = [3, 7, 11, 23, 37].map(Sampling::evenly);
    for sampling in rates.into_iter().chain(counts) {
        let frames = all(&video, sampling.clone());
        assert!(frames.len() <= 40 && frames.windows(2).all(|pair| pair[0].index < pair[1].index), "{sampling:?}");
        for frame in frames {
            assert!((ramp_number(&frame) - frame.index as f64).abs() < 0.5, "{sampling:?}: {frame:?}");
        }
    }
}

#[test]
fn a_thousand_evenly_spaced_frames_do_not_need_a_longer_command() {
    let clips = Clips::new();
    let video = Video::open(clips.make("long.mp4", "-f lavfi -i color=s=16x16:r=100:d=30 -c:v mpeg4")).unwrap();
    let expected: Vec<u64> = (0..1000).map(|n| (n as f64 * (2999.0 / 999.0)).floor() as u64).collect();
    let frames = all(&video, Sampling::evenly(1000));
    assert_eq!(indices(&frames)[..999], expected[..999]);
    assert_eq!(frames[999].index, 2999);
}

#[test]
fn times_on_a_variable_frame_rate_are_those_of_ffprobe() {
    let clips = Clips::new();
    for name in ["variable.mp4", "variable.mkv"] {
        let uneven = "setpts='(N*N/40+N/10)/TB'";
        let source = ramp_source(20);
        let path = clips.make_uneven(name, &format!("{source} -vf settb=1/1000,{uneven} -c:v libx264"));
        let video = Video::open(&path).unwrap();
        assert!(video.info().variable_frame_rate, "{name}");
        let times: Vec<f64> = all(&video, Sampling::all()).iter().map(|frame| frame.time).collect();
        let expected = ffprobe_times(&path);
        assert_eq!((times.len(), expected.len()), (20, 20), "{name}");
        assert!(times.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{name}: {times:?} {expected:?}");
        // The frame number divided by an average rate would be off by seconds.
        assert!((times[10] - 3.5).abs() < 2e-3, "{name}: {times:?}");

        let by_time = all(&video, Sampling::fps(1.0));
        assert_eq!(by_time.first().unwrap().index, 0);
        assert!(by_time.windows(2).all(|pair| pair[1].time.floor() > pair[0].time.floor()), "{name}: {by_time:?}");
    }
}

#[test]
fn a_constant_frame_rate_is_not_called_variable() {
    let clips = Clips::new();
    for name in ["ramp.mkv", "ramp.avi", "ramp.ts"] {
        let info = Video::open(clips.ramp(name, 25)).unwrap().info().clone();
        assert!(!info.variable_frame_rate, "{name}");
        assert!((info.average_frame_rate.unwrap() - 10.0).abs() < 0.01, "{name}: {info:?}");
        assert!((info.duration - 2.5).abs() < 0.11, "{name}: {info:?}");
    }
}

#[test]
fn every_common_container_and_codec_gives_all_its_frames_in_order() {
    let clips = Clips::new();
    let cases = [
        ("h264.mp4", "-c:v libx264"),
        ("hevc.mov", "-c:v libx265 -x265-params log-level=error"),
        ("mpeg4.avi", "-c:v mpeg4 -bf 2"),
        ("vp8.webm", "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -arnr-maxframes 7 -b:v 100k"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime"),
        ("av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime"),
        ("flv1.flv", "-c:v flv"),
        ("h264.ts", "-c:v libx264"),
        ("mpeg2.mpg", "-c:v mpeg2video -r 25"),
        ("mjpeg.mov", "-c:v mjpeg -pix_fmt yuvj420p"),
        ("wmv2.wmv", "-c:v wmv2"),
        ("h264.3gp", "-c:v libx264"),
        ("theora.ogv", "-c:v libtheora -q:v 9"),
        ("raw.h264", "-c:v libx264"),
        ("anim.gif", ""),
    ];
    for (name, codec) in cases {
        let path = clips.make(name, &format!("{} {codec}", ramp_source(20)));
        let video = Video::open(&path).unwrap_or_else(|error| panic!("{error}"));
        let frames: Vec<_> = video.frames(Sampling::all()).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(frames.len() as u64, video.info().frame_count, "{name}");
        assert_eq!(indices(&frames), (0..frames.len() as u64).collect::<Vec<_>>(), "{name}");
        assert!(frames.windows(2).all(|pair| pair[0].time < pair[1].time), "{name}");
        assert!(frames.windows(2).all(|pair| ramp_number(&pair[0]) <= ramp_number(&pair[1]) + 0.3), "{name}");
        assert_eq!(video.info().declared_frames, None, "{name}");
        if name != "mpeg2.mpg" {
            assert_eq!(frames.len(), 20, "{name}");
        }
    }
}

#[test]
fn a_clip_trimmed_by_an_edit_list_gives_the_frames_that_ffprobe_shows() {
    let clips = Clips::new();
    clips.make("whole.mp4", &format!("{} -c:v libx264 -g 40 -bf 2", ramp_source(40)));
    let path = clips.make("trimmed.mp4", "-ss 1.55 -i whole.mp4 -c copy");
    let video = Video::open(&path).unwrap();
    let frames = all(&video, Sampling::all());
    let times: Vec<f64> = frames.iter().map(|frame| frame.time).collect();
    let expected = ffprobe_times(&path);
    assert!(times.len() < 40 && times.len() == expected.len(), "{} {}", times.len(), expected.len());
    assert!(times.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{times:?} {expected:?}");
}

#[test]
fn times_count_from_the_start_of_the_video_stream() {
    let clips = Clips::new();
    let path = clips.make("late.mkv", &format!("{} -c:v libx264 -output_ts_offset 7.5", ramp_source(10)));
    let video = Video::open(path).unwrap();
    assert!((video.info().start_time - 7.5).abs() < 0.01);
    let frames = all(&video, Sampling::evenly(2));
    assert_eq!((frames[0].time, frames[1].time), (0.0, 0.9));
}

/// Writes a display matrix into the only track of an MP4.
pub(crate) fn set_display_matrix(path: &std::path::Path, [a, b, c, d]: [i32; 4]) {
    let mut bytes = std::fs::read(path).unwrap();
    let header = bytes.windows(4).position(|tag| tag == b"tkhd").unwrap() + 4;
    assert_eq!(bytes[header], 0, "this knows version 0 of the box");
    for (i, value) in [a, b, 0, c, d, 0, 0, 0, 1 << 30].into_iter().enumerate() {
        bytes[header + 40 + 4 * i..][..4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn rotated_video_comes_out_upright_and_its_probed_size_agrees() {
    let clips = Clips::new();
    // The coded picture of 64 × 48 has a white block in its top left corner.
    let block = "color=black:s=64x48:r=10:d=0.5,drawbox=0:0:16:16:white:fill";
    let one = 1 << 16;
    let cases = [
        (0, false, [one, 0, 0, one], (64, 48), (8, 8)),
        (90, false, [0, one, -one, 0], (48, 64), (40, 8)),
        (180, false, [-one, 0, 0, -one], (64, 48), (56, 40)),
        (270, false, [0, -one, one, 0], (48, 64), (8, 56)),
        (0, true, [-one, 0, 0, one], (64, 48), (56, 8)),
        (90, true, [0, -one, -one, 0], (48, 64), (40, 56)),
        (180, true, [one, 0, 0, -one], (64, 48), (8, 40)),
        (270, true, [0, one, one, 0], (48, 64), (8, 8)),
    ];
    let path = clips.make("turned.mp4", &format!("-f lavfi -i {block} -c:v libx264 -pix_fmt yuv420p"));
    for (rotation, mirrored, matrix, size, white) in cases {
        set_display_matrix(&path, matrix);
        let video = Video::open(&path).unwrap();
        let info = video.info();
        assert_eq!((info.rotation, info.mirrored, (info.width, info.height)), (rotation, mirrored, size));
        let frame = &all(&video, Sampling::evenly(1))[0];
        assert_eq!(frame.image.dimensions(), size, "{rotation} {mirrored}");
        for corner in [(8, 8), (size.0 - 8, 8), (8, size.1 - 8), (size.0 - 8, size.1 - 8)] {
            let bright = frame.image.get_pixel(corner.0, corner.1)[0] > 128;
            assert_eq!(bright, corner == white, "{rotation} {mirrored}: {corner:?}");
        }
        let small = DecodeOptions::default().with_max_side(32);
        let small = Video::open_with(&path, &small).unwrap();
        assert_eq!((small.info().width, small.info().height), size);
        let expected = (small.info().frame_width, small.info().frame_height);
        assert_eq!(all(&small, Sampling::evenly(1))[0].image.dimensions(), expected);
        assert_eq!(expected, (size.0 / 2, size.1 / 2));
    }
}

#[test]
fn further_quarter_turns_follow_the_rotation_of_the_file() {
    let clips = Clips::new();
    let path =
        clips.make("turned.mp4", "-f lavfi -i testsrc2=s=64x48:r=10:d=0.3 -vf setsar=2 -c:v libx264 -pix_fmt yuv420p");
    let one = 1 << 16;
    // Not turned, turned to the right, and mirrored.
    for matrix in [[one, 0, 0, one], [0, one, -one, 0], [-one, 0, 0, one]] {
        set_display_matrix(&path, matrix);
        let plain = Video::open(&path).unwrap();
        let upright = all(&plain, Sampling::all());
        for turns in 0..6 {
            let video = Video::open_with(&path, &DecodeOptions::default().with_turn(turns)).unwrap();
            let (info, before) = (video.info(), plain.info());
            assert_eq!((info.rotation, info.mirrored), ((before.rotation + 90 * turns) % 360, before.mirrored));
            for (frame, upright) in all(&video, Sampling::all()).iter().zip(&upright) {
                let expected = match turns % 4 {
                    0 => upright.image.clone(),
                    1 => imageops::rotate90(&upright.image),
                    2 => imageops::rotate180(&upright.image),
                    _ => imageops::rotate270(&upright.image),
                };
                assert!(frame.image == expected, "{matrix:?} {turns}");
                assert_eq!(frame.image.dimensions(), (info.width, info.height));
                assert_eq!(frame.image.dimensions(), (info.frame_width, info.frame_height));
            }
            assert_eq!(video.input().rotation, Some(info.rotation));
        }
    }
}

#[test]
fn odd_sizes_keep_every_row_and_column() {
    let clips = Clips::new();
    for (name, codec) in
        [("odd.mkv", "-c:v ffv1"), ("odd.mp4", "-c:v libx264 -pix_fmt yuv444p"), ("odd.webm", "-c:v libvpx-vp9")]
    {
        let path = clips.make(name, &format!("-f lavfi -i testsrc=s=63x47:r=10:d=0.5 {codec}"));
        let video = Video::open(path).unwrap();
        assert_eq!((video.info().width, video.info().height), (63, 47), "{name}");
        let frames = all(&video, Sampling::all());
        assert_eq!((frames.len(), frames[0].image.dimensions()), (5, (63, 47)), "{name}");
    }
}

#[test]
fn cover_art_is_not_taken_for_the_video() {
    let clips = Clips::new();
    clips.make("cover.png", "-f lavfi -i color=red:s=300x300 -frames:v 1 -update 1");
    clips.ramp("ramp.mp4", 10);
    let with_cover =
        clips.make("cover.mp4", "-i cover.png -i ramp.mp4 -map 0 -map 1 -c copy -disposition:0 attached_pic");
    let video = Video::open(with_cover).unwrap();
    assert_eq!((video.info().width, video.info().height), (64, 48));
    assert_eq!(all(&video, Sampling::all()).len(), 10);
}

#[test]
fn an_input_describes_the_file_and_its_video() {
    use sha2::Digest;
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 10);
    let video = Video::open(&path).unwrap();
    let input = video.input();
    assert_eq!(input.path, path.to_string_lossy());
    assert_eq!(input.bytes, Some(std::fs::metadata(&path).unwrap().len()));
    assert_eq!((input.codec.as_deref(), input.width, input.frames), (Some("h264"), Some(64), Some(10)));
    assert_eq!((input.rotation, input.variable_frame_rate, input.sha256), (Some(0), Some(false), None));
    let digest = sha2::Sha256::digest(std::fs::read(&path).unwrap());
    let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(video.sha256().unwrap(), expected);
}

#[test]
fn frames_can_be_sent_to_another_thread() {
    fn assert_send<T: Send + 'static>() {}
    assert_send::<Frames>();
}
