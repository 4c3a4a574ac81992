#!/bin/sh
# Writes the seeds of the fuzz targets beside this file: what ffprobe says of a few clips that ffmpeg makes, and Y4M.
set -eu
cd "$(dirname "$0")"
clips=$(mktemp -d)
trap 'rm -r "$clips"' EXIT
make() {
    clip=$clips/$1
    shift
    ffmpeg -nostdin -v error -y "$@" "$clip"
}
ask() {
    ffprobe -v error -show_library_versions -show_entries "$2" -of json=compact=1 "$clips/$1" >"ffprobe_json/$3.json"
}
# The flags of `deepsight-video/src/probe.rs`.
packets=packet=codec_type,stream_index,pts_time,dts_time,duration_time,flags
headers=format=format_name,duration:stream=index,codec_type,codec_name,pix_fmt,color_range,width,height
headers=$headers,sample_aspect_ratio,r_frame_rate,avg_frame_rate,time_base,start_time,duration,nb_frames
headers=$headers:stream_disposition=attached_pic,timed_thumbnails,still_image:stream_side_data_list
headers=$headers:stream_side_data=displaymatrix
mkdir -p ffprobe_json
make plain.mp4 -f lavfi -i testsrc=s=64x48:r=10:d=0.6 -f lavfi -i sine=d=0.3 -c:v libx264 -pix_fmt yuv420p
make uneven.mkv -f lavfi -i testsrc=s=64x48:r=10:d=0.8 -vf "select='not(mod(n,3))'" -vsync passthrough -c:v mpeg4
# Before ffmpeg 6 the rotation was metadata.
make turned.mp4 -display_rotation 90 -i "$clips/plain.mp4" -c copy 2>/dev/null ||
    make turned.mp4 -i "$clips/plain.mp4" -c copy -metadata:s:v:0 rotate=90
ask plain.mp4 "$packets:$headers" all
ask uneven.mkv "$packets:$headers" uneven
ask turned.mp4 "$headers" turned
ask plain.mp4 "$packets" packets
mkdir -p y4m
for format in yuv420p yuv422p yuv444p10 gray; do
    ffmpeg -nostdin -v error -y -f lavfi -i testsrc=s=8x6:r=10:d=0.2 -pix_fmt $format \
        -strict -1 -f yuv4mpegpipe "y4m/$format"
done

mkdir -p mp4
moving="-f lavfi -i testsrc=s=32x32:r=10:d=1.5"
# x264 and x265 write their settings into a message (unit 6 or 39), which would be most of the file.
avc="-c:v libx264 -pix_fmt yuv420p -bsf:v filter_units=remove_types=6"
mp4() {
    name=$1
    shift
    # shellcheck disable=SC2086
    ffmpeg -nostdin -v error -y $moving "$@" -fflags +bitexact -flags +bitexact "mp4/$name.mp4"
}
# shellcheck disable=SC2086
{
    mp4 plain $avc -g 4
    mp4 first $avc -g 4 -bf 2 -movflags +faststart
    mp4 early $avc -g 5 -bf 2 -movflags negative_cts_offsets
    mp4 uneven $avc -g 4 -vf "select='not(mod(n,3))'" -vsync passthrough
    mp4 sound -f lavfi -i sine=d=0.4 $avc -g 6 -c:a aac -b:a 8k
    mp4 several $avc -g 3 -slices 2 -x264-params repeat-headers=1
}
mp4 hevc -c:v libx265 -x265-params log-level=error:keyint=5:open-gop=0 -bsf:v filter_units=remove_types=39

# Streams without an index are read by the same target.
for name in stream.ts stream.flv; do
    # shellcheck disable=SC2086
    ffmpeg -nostdin -v error -y $moving $avc -g 4 -bf 2 -fflags +bitexact -flags +bitexact "mp4/$name"
done

mkdir -p picture
picture() {
    name=$1
    shift
    ffmpeg -nostdin -v error -y -f lavfi -i "testsrc=s=24x16:r=10:d=0.5" "$@" "picture/$name"
}
picture plain.png -frames:v 1
picture palette.png -frames:v 1 -vf "split[a][b];[a]palettegen[p];[b][p]paletteuse" -pix_fmt pal8
picture deep.png -frames:v 1 -pix_fmt rgba64be
picture plain.jpg -frames:v 1 -pix_fmt yuvj420p
picture gray.jpg -frames:v 1 -pix_fmt gray
picture lossy.webp -c:v libwebp -frames:v 1
picture lossless.webp -c:v libwebp -lossless 1 -pix_fmt bgra -frames:v 1
picture plain.avif -frames:v 1 -c:v libaom-av1 -still-picture 1
picture moving.webp -c:v libwebp_anim
picture clear.webp -vf "colorkey=black" -c:v libwebp_anim -lossless 1 -pix_fmt bgra
# The picture lies on its side: orientation 6 in its EXIF data.
{
    printf '\377\330\377\341\0\042Exif\0\0II*\0\010\0\0\0\001\0\022\001\003\0\001\0\0\0\006\0\0\0\0\0\0\0'
    tail -c +3 picture/plain.jpg
} >picture/turned.jpg
cp ../../tests/pictures/tiles.heic picture/
