use std::{fmt, path::Path, time::Duration};

use crate::VideoError;

/// Limits on the resources that one untrusted video may use. Every limit is strict by default.
///
/// ```
/// use deepsight_video::DecodeLimits;
/// let limits = DecodeLimits::default().with_max_pixels(1920 * 1080).with_max_duration_seconds(60);
/// assert_eq!(limits.max_pixels, 2_073_600);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Size of the file in bytes. Default 4 GiB.
    pub max_file_bytes: u64,
    /// Length of the video in seconds, rounded. Default one hour.
    pub max_duration_seconds: u64,
    /// Width times height of one frame, before any downscale. Default 8192 × 4320.
    pub max_pixels: u64,
    /// Width times height of a still picture, before any downscale. Default 141,557,760, four times the default of
    /// [`max_pixels`](Self::max_pixels), which does not hold for stills: cameras and phones take pictures of 100
    /// megapixels and more. A HEIC or AVIF picture of a high dynamic range needs more than the default of
    /// [`max_memory_bytes`](Self::max_memory_bytes) from about 70 megapixels on.
    pub max_still_pixels: u64,
    /// Frames in the whole video, sampled or not, because each has to be decoded. Default 216,000, one hour at 60 per
    /// second.
    pub max_frames: u64,
    /// Time that may be spent waiting for one run of ffprobe (opening a video takes one to four runs, and one more for
    /// each stream with a decoder that is not on the allow-list) or for the runs of ffmpeg of one decode. If an excerpt
    /// or seeks fail, each method that replaces them may take as long again. The time that a caller takes between two
    /// frames does not count. Default ten minutes.
    pub max_wait: Duration,
    /// Time for which the source of a [`PipedVideo`](crate::PipedVideo) may send nothing. Default: no limit, because a
    /// camera may be silent.
    pub max_source_wait: Duration,
    /// Bytes of ffmpeg's standard error that are kept. Older text is dropped. Default 8 KiB.
    pub max_stderr_bytes: usize,
    /// Address space of each ffmpeg process in bytes, of which up to four decode at a time (enforced on Linux, and not
    /// with a [hardware decoder](crate::DecodeOptions::hwaccel)). Default 4 GiB.
    pub max_memory_bytes: u64,
    /// Threads that an ffmpeg decoder may start, never more than the machine's cores plus one. Default 8.
    pub max_threads: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_file_bytes: 4 << 30,
            max_duration_seconds: 3600,
            max_pixels: 8192 * 4320,
            max_still_pixels: 4 * 8192 * 4320,
            max_frames: 216_000,
            max_wait: Duration::from_secs(600),
            max_source_wait: Duration::MAX,
            max_stderr_bytes: 8 << 10,
            max_memory_bytes: 4 << 30,
            max_threads: 8,
        }
    }
}

impl DecodeLimits {
    /// Returns limits without a bound on size, length, pixels, frames, time or memory, for files you made yourself. The
    /// allow-lists of protocols, containers and codecs stay in force, and standard error is still bounded.
    pub fn unlimited() -> Self {
        Self {
            max_file_bytes: u64::MAX,
            max_duration_seconds: u64::MAX,
            max_pixels: u64::MAX,
            max_still_pixels: u64::MAX,
            max_frames: u64::MAX,
            max_wait: Duration::MAX,
            max_memory_bytes: u64::MAX,
            max_threads: u32::MAX,
            ..Self::default()
        }
    }

    /// Sets the largest file, in bytes.
    #[must_use]
    pub fn with_max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = bytes;
        self
    }

    /// Sets the longest video, in seconds.
    #[must_use]
    pub fn with_max_duration_seconds(mut self, seconds: u64) -> Self {
        self.max_duration_seconds = seconds;
        self
    }

    /// Sets the largest frame, as width times height.
    #[must_use]
    pub fn with_max_pixels(mut self, pixels: u64) -> Self {
        self.max_pixels = pixels;
        self
    }

    /// Sets the largest still picture, as width times height.
    #[must_use]
    pub fn with_max_still_pixels(mut self, pixels: u64) -> Self {
        self.max_still_pixels = pixels;
        self
    }

    /// Sets the most frames a video may have.
    #[must_use]
    pub fn with_max_frames(mut self, frames: u64) -> Self {
        self.max_frames = frames;
        self
    }

    /// Sets the longest wait for one run of ffmpeg or ffprobe.
    #[must_use]
    pub fn with_max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Sets the longest time for which the source of a piped video may send nothing.
    #[must_use]
    pub fn with_max_source_wait(mut self, wait: Duration) -> Self {
        self.max_source_wait = wait;
        self
    }

    /// Sets the number of bytes of ffmpeg's standard error that are kept.
    #[must_use]
    pub fn with_max_stderr_bytes(mut self, bytes: usize) -> Self {
        self.max_stderr_bytes = bytes;
        self
    }

    /// Sets the address space of an ffmpeg process, in bytes.
    #[must_use]
    pub fn with_max_memory_bytes(mut self, bytes: u64) -> Self {
        self.max_memory_bytes = bytes;
        self
    }

    /// Sets the most threads of a decoder.
    #[must_use]
    pub fn with_max_threads(mut self, threads: u32) -> Self {
        self.max_threads = threads;
        self
    }

    /// Returns an error if pictures of this size have too many pixels.
    pub(crate) fn check_pixels(&self, path: &Path, (width, height): (u32, u32)) -> Result<(), VideoError> {
        Limit::Pixels.check(path, u64::from(width) * u64::from(height), self.max_pixels)
    }

    /// Returns an error if a clip of `duration` seconds is too long. A clip of an hour and a few frames, as recorders
    /// and editors cut it, is an hour long.
    pub(crate) fn check_duration(&self, path: &Path, duration: f64) -> Result<(), VideoError> {
        let (seconds, max_seconds) = ((duration - 0.5).ceil() as u64, self.max_duration_seconds);
        if seconds <= max_seconds {
            return Ok(());
        }
        Err(VideoError::TooLong { path: path.to_path_buf(), seconds, max_seconds })
    }

    /// Returns the number of threads to ask ffmpeg for on this machine: as many as it would use by default, within the
    /// limit.
    pub(crate) fn threads(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        self.max_threads.clamp(1, cores.saturating_add(1))
    }
}

/// The one of the [`DecodeLimits`] that a video exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// [`DecodeLimits::max_file_bytes`].
    FileBytes,
    /// [`DecodeLimits::max_pixels`], or [`DecodeLimits::max_still_pixels`] for a still picture.
    Pixels,
    /// [`DecodeLimits::max_frames`].
    Frames,
}

impl Limit {
    /// Returns an error if `value` is over this limit, whose setting is `max`.
    pub(crate) fn check(self, path: &Path, value: u64, max: u64) -> Result<(), VideoError> {
        if value <= max {
            return Ok(());
        }
        Err(VideoError::OverLimit { path: path.to_path_buf(), limit: self, value, max })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::FileBytes => "bytes",
            Limit::Pixels => "pixels a frame",
            Limit::Frames => "frames",
        })
    }
}

/// Protocols that may be used. Only the named file itself may be opened: no network, no second file, no device.
pub(crate) const PROTOCOLS: &str = "file";

/// Protocols that may be used for a video that arrives on a pipe. No file may be opened.
pub(crate) const PIPE_PROTOCOLS: &str = "pipe";

/// Containers that may be read. Playlists (`concat`, `hls`, `dash`), image sequences and everything that opens other
/// files or devices are absent on purpose.
pub(crate) const DEMUXERS: &str =
    "mov,matroska,avi,flv,mpegts,mpeg,mpegvideo,asf,ogg,m4v,h264,hevc,ivf,obu,gif,apng,mxf,dv,nut";

/// Decoders that may run. Audio, subtitle and cover-art decoders are listed because ffprobe opens every stream of a
/// file. A decoder that is not listed is opened for its stream alone, and decodes nothing.
pub(crate) const DECODERS: &str = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,libaom-av1,mpeg4,mpeg1video,\
mpeg2video,mpegvideo,h261,h263,h263i,h263p,flv,flashsv,flashsv2,vp6,vp6a,vp6f,vp7,theora,mjpeg,mjpegb,msmpeg4v1,\
msmpeg4v2,msmpeg4,wmv1,wmv2,wmv3,vc1,prores,dnxhd,dvvideo,cfhd,ffv1,huffyuv,ffvhuff,utvideo,qtrle,rpza,svq1,svq3,\
cinepak,indeo3,indeo5,gif,apng,rawvideo,png,bmp,webp,aac,aac_fixed,aac_latm,libfdk_aac,mp1,mp1float,mp2,mp2float,mp3,\
mp3float,ac3,ac3_fixed,eac3,dca,truehd,mlp,opus,libopus,vorbis,libvorbis,flac,alac,amrnb,amrwb,libopencore_amrnb,\
libopencore_amrwb,wmav1,wmav2,wmapro,wmalossless,wmavoice,speex,libspeex,nellymoser,gsm,gsm_ms,libgsm,libgsm_ms,qdm2,\
qcelp,cook,mace3,mace6,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,adpcm_yamaha,g722,g726,pcm_alaw,pcm_mulaw,\
pcm_bluray,pcm_dvd,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,\
pcm_f64le,pcm_f64be,mov_text,srt,subrip,ass,ssa,text,webvtt,dvbsub,dvdsub,pgssub,xsub,cc_dec";
