#!/usr/bin/env bash
# Builds the ffmpeg and ffprobe of the packed folder: H.264, HEVC and VP9 with NVDEC, nothing else, so that both have a
# few megabytes and need only the C library. Available builds either lack NVDEC, which a static C library cannot load,
# or are larger than everything else together. Takes a minute or two, once. Debian only: apt checks its source packages.
#
#     ffmpeg.sh FOLDER    # leaves ffmpeg and ffprobe there
set -euo pipefail
[ $# = 1 ] || { echo "usage: ffmpeg.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
out="$(cd "$1" && pwd)"
for tool in apt-get dpkg make gcc pkg-config tar xz; do
    command -v "$tool" >/dev/null || { echo "ffmpeg.sh: $tool is not installed" >&2; exit 2; }
done
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# apt's sandbox may not be allowed to read a private folder.
chmod 755 "$work"
cd "$work"
mkdir -p lists/partial cache/archives/partial
# The machine's package sources, with the source packages.
mkdir sources
if [ -e /etc/apt/sources.list ]; then
    sed -n 's/^deb \(.*\)/deb \1\ndeb-src \1/p' /etc/apt/sources.list >sources/machine.list
fi
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb deb-src/' "$file" >"sources/$(basename "$file")"
done
apt="-q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$work/sources"
apt="$apt -o Dir::State::Lists=$work/lists -o Dir::Cache=$work/cache"
# shellcheck disable=SC2086 # words, not one
{
    apt-get $apt update
    apt-get $apt source --download-only ffmpeg
    # The assembler for the decoders' inner loops, and the headers of NVIDIA's interface; neither is installed.
    apt-get $apt download nasm libffmpeg-nvenc-dev
} >apt.log 2>&1 || { cat apt.log >&2; echo "ffmpeg.sh: apt could not fetch the sources" >&2; exit 1; }
for package in *.deb; do dpkg -x "$package" unpacked; done
mkdir pc source
sed "s|^prefix=.*|prefix=$work/unpacked/usr|" "$(find unpacked -name ffnvcodec.pc)" >pc/ffnvcodec.pc
tar -xf ffmpeg_*.orig.tar.xz -C source --strip-components=1
cd source
{
    PATH="$work/unpacked/usr/bin:$PATH" PKG_CONFIG_LIBDIR="$work/pc" ./configure \
        --disable-everything --disable-autodetect --disable-doc --disable-debug --disable-network --disable-avdevice \
        --disable-ffplay --enable-pthreads --enable-ffnvcodec --enable-nvdec \
        --enable-hwaccel=h264_nvdec,hevc_nvdec,vp9_nvdec --enable-decoder=h264,hevc,vp9,rawvideo \
        --enable-parser=h264,hevc,vp9 --enable-demuxer=mov,matroska,h264,hevc --enable-protocol=file,pipe \
        --enable-encoder=rawvideo,wrapped_avframe --enable-muxer=rawvideo,null \
        --enable-filter=scale,format,select,settb,metadata,null,hflip,vflip,transpose
    PATH="$work/unpacked/usr/bin:$PATH" make -j"$(nproc)" ffmpeg ffprobe
} >build.log 2>&1 || { tail -n 20 build.log >&2; echo "ffmpeg.sh: ffmpeg could not be built" >&2; exit 1; }
"$work/source/ffmpeg" -hide_banner -hwaccels | grep -qx cuda ||
    { echo "ffmpeg.sh: the ffmpeg built has no NVDEC" >&2; exit 1; }
strip ffmpeg ffprobe
cp ffmpeg ffprobe "$out/"
echo "$out/ffmpeg and ffprobe: $(du -cb ffmpeg ffprobe | awk 'END { printf "%.1f MiB", $1 / 1048576 }')"
