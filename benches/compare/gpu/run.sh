#!/usr/bin/env bash
# Measures everything, in eight minutes at most, on a machine with an NVIDIA GPU. pack.sh puts this file beside
# payload.tar.xz.
#
#     ./run.sh [FOLDER]           # results.json, table.md and log.txt go to FOLDER, by default results beside this file
#     LIMIT=300 ./run.sh          # at most so many seconds of measuring instead of 445
#     DEVICE=cpu ./run.sh         # everything once, tiny, without a GPU, to see that it runs
#     PARTS="clips train" ./run.sh # these parts alone, with the time of all: classifier, detector, train, clips
#     PYTHON=python3.12 ./run.sh  # another Python than python3; it has PyTorch, torchvision and numpy
#
# It needs no network, installs nothing, changes no setting of the GPU, and unpacks into a temporary folder that it
# removes. The exit code is 0 if there is a table, even an incomplete one: the table names what is missing.
set -euo pipefail
# Parts end by then; what hangs even so is killed 15 s later, and unpacking takes some before.
LIMIT="${LIMIT:-445}"
here="$(cd "$(dirname "$0")" && pwd)"
results="${1:-$here/results}"
python="${PYTHON:-python3}"
export DEVICE="${DEVICE:-cuda}"
die() { echo "run.sh: $*" >&2; exit 2; }

case "$DEVICE" in cuda | cpu) ;; *) die "DEVICE=$DEVICE is neither cuda nor cpu" ;; esac
[[ "$LIMIT" =~ ^[1-9][0-9]{1,3}$ ]] || die "LIMIT=$LIMIT is not a number of seconds from 10 to 9999"
[ -f "$here/payload.tar.xz" ] || die "no payload.tar.xz beside this file: pack.sh makes the folder"
command -v "$python" >/dev/null || die "$python is not installed (PYTHON names another)"
"$python" -c 'import torch, torchvision, numpy' 2>/dev/null || die "$python lacks torch, torchvision or numpy"
mkdir -p "$results"
results="$(cd "$results" && pwd)"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" - "$here/payload.tar.xz" "$work" <<'PYTHON'
import sys
import tarfile

with tarfile.open(sys.argv[1]) as payload:
    payload.extractall(sys.argv[2], filter="tar")
PYTHON
cd "$work"

path="$work/lib:$work/compare"
for folder in "$work"/more/*; do
    "$python" -c "import $(basename "$folder")" 2>/dev/null || path="$path:$folder"
done
export PYTHONPATH="$path" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export DEEPSIGHT_FFMPEG="$work/bin/ffmpeg" DEEPSIGHT_FFPROBE="$work/bin/ffprobe"
# Every cache of kernels begins empty and ends here, so that no run profits from the one before it.
export XDG_CACHE_HOME="$work/cache" TORCHINDUCTOR_CACHE_DIR="$work/cache/inductor" TRITON_CACHE_DIR="$work/cache/triton"
export CUDA_CACHE_PATH="$work/cache/cuda"

if [ "$DEVICE" = cuda ]; then
    # Burn compiles its kernels with NVRTC and CUDA's headers. The loader may not know the toolkit's folder, and NVRTC
    # may be only in PyTorch's packages, so the paths are set here.
    toolkit="${CUDA_PATH:-${CUDA_HOME:-/usr/local/cuda}}"
    [ -d "$toolkit/include" ] && export CUDA_PATH="$toolkit"
    packages="$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent.parent / "nvidia")')"
    for folder in "$toolkit/lib64" "$toolkit"/targets/*/lib "$packages"/*/lib; do
        [ -e "$folder/libnvrtc.so" ] || [ -e "$folder/libnvrtc.so.13" ] || [ -e "$folder/libnvrtc.so.12" ] || continue
        export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
        break
    done
fi

code=0
# shellcheck disable=SC2086 # the parts are words
timeout --kill-after=5 "$((LIMIT + 15))" "$python" "$work/compare/gpu/run.py" --packed "$work" --work "$work/inputs" \
    --json "$results/results.json" --device "$DEVICE" --seconds "$LIMIT" ${PARTS:+--parts $PARTS} \
    >"$results/log.txt" 2>&1 || code=$?
tail -n 40 "$results/log.txt"
[ "$code" = 0 ] || echo "run.py ended with code $code (124: time was up); the table has what was measured until then"
"$python" "$work/compare/gpu/tables.py" "$results/results.json" >"$results/table.md" || die "there is no table"
cat "$results/table.md"
