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
    ffmpeg -nostdin -v error -y -f lavfi -i testsrc=s=8x6:r=10:d=0.2 -pix_fmt $format -strict -1 -f yuv4mpegpipe "y4m/$format"
done
