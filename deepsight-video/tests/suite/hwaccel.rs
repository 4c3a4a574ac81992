//! Tests of hardware decoding that can run without the hardware.

use std::{fs, path::Path};

use crate::clips::{Clips, processes_on, ramp_source, script};
use deepsight_core::Frame;
use deepsight_video::{DecodeOptions, HwAccel, Sampling, Video, VideoError};

const CUDA: HwAccel = HwAccel::Cuda { device: 0 };

/// Returns options with a fake ffmpeg. Its decoder uses `filters` to give frames as NVDEC does, without NVDEC.
fn pretender(clips: &Clips, name: &str, filters: &str) -> DecodeOptions {
    let text = format!(
        r#"skip= before=
        for word; do
            shift
            case "$word" in -hwaccel|-hwaccel_device) skip=1; continue;; esac
            if [ "$skip" ]; then skip=; continue; fi
            set -- "$@" "$before$word"
            before=
            if [ "$word" = -vf ]; then before="{filters}"; fi
        done
        exec ffmpeg "$@""#
    );
    DecodeOptions::default().with_ffmpeg(script(clips, name, &text)).with_ffprobe("ffprobe")
}

fn all(path: &Path, options: &DecodeOptions) -> Result<Vec<Frame>, VideoError> {
    Video::open_with(path, options)?.frames(Sampling::all())?.collect()
}

#[test]
fn frames_of_two_planes_give_the_same_pixels_as_frames_of_three() {
    let clips = Clips::new();
    let source = "-f lavfi -i testsrc2=s=160x120:r=10:d=0.5";
    let full = "-vf scale=out_range=pc -color_range pc";
    let (limited, kept) = ("format=nv12,", "scale=in_range=pc:out_range=pc,format=nv12,setparams=range=pc,");
    let cases = [
        ("plain.mkv", format!("{source} -c:v libx264 -pix_fmt yuv420p -qp 4"), limited),
        ("odd.webm", format!("{source} -vf scale=159:119 -c:v libvpx-vp9 -pix_fmt yuv420p"), limited),
        ("full.mkv", format!("{source} {full} -c:v libx264 -pix_fmt yuvj420p"), kept),
        ("full.webm", format!("{source} {full} -c:v libvpx-vp9 -pix_fmt yuv420p"), kept),
        (
            "deep.mkv",
            format!("{source} -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p10le"),
            "format=p010,",
        ),
        // No hardware can decode these, so ffmpeg decodes them on the CPU.
        ("flat.mkv", format!("{source} -c:v libx264 -pix_fmt yuv444p"), ""),
        ("gif.gif", source.to_owned(), ""),
    ];
    for (name, words, filters) in cases {
        let path = clips.make(name, &words);
        for side in [None, Some(80)] {
            let mut options = pretender(&clips, "pretender", filters).with_hwaccel(CUDA);
            let mut plain = DecodeOptions::default();
            (options.max_side, plain.max_side) = (side, side);
            let (hardware, software) = (all(&path, &options).unwrap(), all(&path, &plain).unwrap());
            assert_eq!((hardware.len(), hardware.len()), (5, software.len()), "{name}");
            for (one, other) in hardware.iter().zip(&software) {
                assert!(one.image == other.image && one.time == other.time, "{name} at {side:?}: frame {}", one.index);
            }
        }
    }
}

#[test]
fn a_missing_gpu_is_an_error_and_the_next_video_is_decoded() {
    if Path::new("/dev/nvidia0").exists() {
        #[allow(clippy::print_stderr, reason = "a test that is left out must say so")]
        let () = eprintln!("skipped: this machine has an NVIDIA GPU");
        return;
    }
    let clips = Clips::new();
    for path in [clips.ramp("ramp.mp4", 10), clips.make("ramp.gif", &ramp_source(10))] {
        let options = DecodeOptions::default().with_hwaccel(HwAccel::Cuda { device: 3 });
        let error = all(&path, &options).unwrap_err();
        assert!(matches!(error, VideoError::HwAccel { hwaccel: HwAccel::Cuda { device: 3 }, .. }), "{error:?}");
        let message = error.to_string();
        for word in ["cannot decode on cuda:3", "nvidia-smi", "-hwaccels"] {
            assert!(message.contains(word) && !message.contains('\n'), "{message}");
        }
        assert!(processes_on(&path).is_empty());
        assert_eq!(all(&path, &DecodeOptions::default()).unwrap().len(), 10);
    }
    let error = DecodeOptions::default().with_hwaccel(CUDA).check().unwrap_err();
    assert!(matches!(error, VideoError::HwAccel { hwaccel: CUDA, .. }), "{error:?}");
}

#[test]
fn the_error_says_that_ffmpeg_was_built_without_cuda() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 10);
    let ffmpeg = script(&clips, "old", "echo 'Unrecognized hwaccel: cuda.' >&2; exit 1");
    let options = DecodeOptions::default().with_ffmpeg(ffmpeg).with_ffprobe("ffprobe").with_hwaccel(CUDA);
    let error = all(&path, &options).unwrap_err();
    assert!(matches!(&error, VideoError::HwAccel { reason, .. } if reason.contains("Unrecognized")), "{error:?}");
}

#[test]
fn a_driver_may_reserve_address_space_and_write_small_files() {
    let clips = Clips::new();
    let path = clips.make("long.mp4", "-f lavfi -i color=s=640x480:r=25:d=20 -c:v libx264 -preset ultrafast");
    let options = pretender(&clips, "pretender", "").with_hwaccel(CUDA);
    let mut frames = Video::open_with(&path, &options).unwrap().frames(Sampling::all()).unwrap();
    frames.next().unwrap().unwrap();
    let running = processes_on(&path);
    assert_eq!(running.len(), 1, "ffmpeg waits for us to read on");
    let limit = |process: &str, name: &str| {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
    };
    let child = running[0].to_string();
    assert_eq!(limit(&child, "Max address space"), limit("self", "Max address space"));
    assert!(limit(&child, "Max file size").contains(&(16u32 << 20).to_string()));
    assert!(limit(&child, "Max core file size").contains(" 0 "));
    drop(frames);
    assert!(processes_on(&path).is_empty());
}

/// `CUDA_VISIBLE_DEVICES` and `LD_LIBRARY_PATH` say where the driver is. Another variable stands in for them here.
#[test]
fn environment_variables_reach_the_driver() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 10);
    let ffmpeg = script(&clips, "tells", "echo \"$CARGO_MANIFEST_DIR cache off: $CUDA_CACHE_DISABLE\" >&2; exit 1");
    let options = DecodeOptions::default().with_ffmpeg(ffmpeg).with_ffprobe("ffprobe").with_hwaccel(CUDA);
    let message = all(&path, &options).unwrap_err().to_string();
    assert!(message.contains(&format!("{} cache off: 1", std::env::var("CARGO_MANIFEST_DIR").unwrap())), "{message}");
}
