#!/usr/bin/env bash
# Makes portraits.mp4 from three public-domain photographs: slow moves over each, joined by hard cuts.
# Usage: ./make.sh PHOTOS [OUT]
# PHOTOS is a folder with astronaut.png, obama.jpg and biden.jpg; README.md says where they come from.
set -euo pipefail

photos=${1:?usage: make.sh PHOTOS [OUT]}
out=${2:-$(dirname "$0")/portraits.mp4}

# Other versions of a photograph would move the faces.
(cd "$photos" && sha256sum --quiet --check -) <<'SUMS'
88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5  astronaut.png
0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6  obama.jpg
3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c  biden.jpg
SUMS

# zoompan moves its window by whole source pixels, so every photograph is enlarged fourfold first, for smooth moves.
# t runs from 0 to 1 over a scene.
scene() { # crop of the photograph, zoom, x, y, frames, size
    local t="on/($5-1)"
    local window="z='${2//t/$t}':x='${3//t/$t}':y='${4//t/$t}':d=$5"
    echo "format=yuv444p,crop=$1,scale=iw*4:ih*4:flags=lanczos,zoompan=$window:fps=25:s=$6,setsar=1"
}

# 1. One person, the camera moves in on the face, 2.4 s.
# 2. Two people side by side, each half pans the other way, 2.8 s.
# 3. One of them alone, the camera moves out, 2 s.
ffmpeg -nostdin -hide_banner -loglevel error -y \
    -i "$photos/astronaut.png" -i "$photos/obama.jpg" -i "$photos/biden.jpg" -filter_complex "
    [1:v]split[obama][again];
    [0:v]$(scene 512:288:0:0 '1+0.3*t' '(iw-iw/zoom)*0.4' '(ih-ih/zoom)*0.3' 60 640x360)[one];
    [obama]$(scene 868:900:40:0 '1.085' '(iw-iw/zoom)*t' '0' 70 320x360)[left];
    [2:v]$(scene 910:945:30:20 '1.085' '(iw-iw/zoom)*(1-t)' '(ih-ih/zoom)*t' 70 320x360)[right];
    [left][right]hstack[two];
    [again]$(scene 910:512:0:0 '1.3-0.3*t' '(iw-iw/zoom)*0.55' '0' 50 640x360)[three];
    [one][two][three]concat=n=3:v=1,format=yuv420p[v]" \
    -map '[v]' -an -map_metadata -1 -fflags +bitexact -flags:v +bitexact \
    -c:v libx264 -threads 1 -preset slow -crf 25 -g 50 -colorspace smpte170m -color_range tv -movflags +faststart "$out"
