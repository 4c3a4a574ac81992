#!/usr/bin/env bash
# Makes the folder that measures everything on a machine with an NVIDIA GPU, PyTorch and the CUDA toolkit, and nothing
# else: our programs, an ffmpeg with NVDEC, timm and facenet-pytorch, clips, and run.sh, the only command there.
#
#     pack.sh [--out FOLDER] [--binaries FOLDER] [--ffmpeg FOLDER] [--python VERSION]
#
# --out       target/compare/gpu by default; what it held is replaced
# --binaries  ready programs (measure, analyze, convert, selftest, there or in examples/); else they are built with
#             CUDA, for release, which compiles Burn and takes a quarter of an hour
# --ffmpeg    ready ffmpeg and ffprobe; else ffmpeg.sh builds them, once
# --python    of the machine that measures: 3.12 by default
set -euo pipefail
LIMIT_MIB=60
here="$(cd "$(dirname "$0")" && pwd)"
repository="$(cd "$here/../../.." && pwd)"
die() { echo "pack.sh: $*" >&2; exit 2; }

target="${CARGO_TARGET_DIR:-$repository/target}"
out="$target/compare/gpu" binaries='' ffmpeg='' python=3.12
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value, or is not a flag: --out, --binaries, --ffmpeg, --python"
    case "$1" in
        --out) out="$2" ;;
        --binaries) binaries="$2" ;;
        --ffmpeg) ffmpeg="$2" ;;
        --python) python="$2" ;;
        *) die "$1 is not a flag: --out, --binaries, --ffmpeg, --python" ;;
    esac
    shift 2
done
for tool in python3 ffmpeg tar xz strip git; do command -v "$tool" >/dev/null || die "$tool is not installed"; done
if [ -e "$out" ] && [ -n "$(ls -A "$out")" ] && [ ! -f "$out/payload.tar.xz" ]; then
    die "$out holds something else than a packed folder; --out names another"
fi

stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage"/{bin,clips,lib,more,compare/gpu}

if [ -z "$binaries" ]; then
    command -v cargo >/dev/null || die "cargo is not installed; --binaries names a folder of built programs"
    (cd "$repository" && cargo build --release -p deepsight-benches -p deepsight-examples \
        --features deepsight-benches/cuda,deepsight-examples/cuda \
        --bin measure --example analyze --example convert --example selftest)
    binaries="$target/release"
fi
for name in measure analyze convert selftest; do
    for path in "$binaries/$name" "$binaries/examples/$name"; do [ -f "$path" ] && break; done
    [ -x "$path" ] || die "$binaries holds no program $name"
    cp -L "$path" "$stage/bin/$name"
    # A file that is not a binary, such as a script, stays unchanged.
    strip "$stage/bin/$name" 2>/dev/null || true
done

if [ -z "$ffmpeg" ]; then
    ffmpeg="$target/compare/ffmpeg"
    [ -x "$ffmpeg/ffprobe" ] || "$here/ffmpeg.sh" "$ffmpeg"
fi
for name in ffmpeg ffprobe; do
    [ -x "$ffmpeg/$name" ] || die "$ffmpeg holds no program $name"
    cp -L "$ffmpeg/$name" "$stage/bin/"
done

# The peers, in the versions of the page's other tables; PyTorch is the machine's own. facenet-pytorch requires an old
# PyTorch, so nothing is installed: wheels are unpacked, and found by PYTHONPATH.
fetch() {
    local folder="$1"
    shift
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version "$python" --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux_2_28_x86_64 --platform any \
        --dest "$stage/wheels" "$@" || die "pip could not fetch $*"
    mkdir -p "$folder"
    for wheel in "$stage"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$folder"; done
    rm -r "$stage/wheels"
}
fetch "$stage/lib" "$(grep '^timm==' "$here/../requirements.txt")" facenet-pytorch==2.6.0
# The dependencies of the two, by the names under which they import them, for a machine that lacks them.
for pair in PIL:pillow requests:requests urllib3:urllib3 idna:idna certifi:certifi \
    charset_normalizer:charset-normalizer tqdm:tqdm yaml:pyyaml; do
    fetch "$stage/more/${pair%%:*}" "${pair##*:}"
done

cp "$repository/examples/clips/portraits.mp4" "$stage/clips/"
for height in 720 1080; do
    ffmpeg -nostdin -v error -i "$stage/clips/portraits.mp4" -vf "scale=-2:$height:flags=bicubic" -an -c:v libx264 \
        -preset medium -crf 23 -pix_fmt yuv420p "$stage/clips/$height.mp4"
done

cp "$here"/../*.py "$stage/compare/"
cp "$here"/*.py "$stage/compare/gpu/"
commit="$(git -C "$repository" rev-parse --short HEAD)"
changes="$(git -C "$repository" status --porcelain --untracked-files=no -- . ':!docs')"
[ -z "$changes" ] || commit="$commit with uncommitted changes"
echo "$commit" >"$stage/commit"

mkdir -p "$out"
# One compressed file, because the transport of the folder may have a limit on bytes.
tar -C "$stage" --sort=name --owner=0 --group=0 -cf - bin clips commit compare lib more |
    xz -T0 -6 >"$stage/payload.tar.xz"
weight="$(stat -c %s "$stage/payload.tar.xz")"
mib="$(awk "BEGIN { printf \"%.1f\", $weight / 1048576 }")"
[ "$weight" -le $((LIMIT_MIB << 20)) ] || die "the payload weighs $mib MiB, over the limit of $LIMIT_MIB"
mv "$stage/payload.tar.xz" "$out/payload.tar.xz"
cp "$here/run.sh" "$out/run.sh"
echo "$out: $mib MiB of at most $LIMIT_MIB"
(cd "$stage" && du -sk bin/* clips lib more compare | awk '{ printf "  %6.1f MiB unpacked  %s\n", $1 / 1024, $2 }')
echo "carry it to the machine with the GPU; there: ./run.sh"
