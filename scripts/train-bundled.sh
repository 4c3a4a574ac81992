#!/usr/bin/env bash
# Makes the bundled model anew, with the reports on it:
#   scripts/train-bundled.sh DATA START.safetensors OUTPUT
# DATA is a folder with celebdf/, dfdc/ and ffpp/ (crops, each with its manifest.csv: file, label, video, target_id, source_id,
# split, original) and lfw/ (photographs). START is the model that training goes on from: the bundled one before this, or
# weights of ImageNet. An interrupted run continues where it stopped.
set -euo pipefail
data=$(realpath "$1") start=$(realpath "$2")
mkdir -p "$3"
output=$(realpath "$3")
cd "$(dirname "$0")/.."

program() {
    cargo run --quiet --locked --release --example "$@"
}

crops=$output/crops
program preprocess -- --data-dir "$data/celebdf" --output-dir "$crops/celebdf"
program preprocess -- --data-dir "$data/dfdc" --output-dir "$crops/dfdc"
program preprocess -- --data-dir "$data/ffpp" --output-dir "$crops/ffpp" --method-from-name
# Some of its people are kept out of training, to measure on.
program preprocess -- --data-dir "$data/lfw" --label real --output-dir "$crops/lfw" --split 85/0/15

# Starts a run of that name with those settings, or continues it.
stage() {
    local run=$output/$1 resume=
    shift
    test ! -e "$run/checkpoint.safetensors" || resume=--resume
    program train -- --manifest "$crops/celebdf/manifest.csv" --manifest "$crops/dfdc/manifest.csv" \
        --manifest "$crops/lfw/manifest.csv" --draws 12800 --warmup 0.25 --paired 0.5 --drop-path 0.1 --dropout 0.3 --ema 0.998 \
        --cache 8192 --output-dir "$run" $resume "$@"
}
terms="Research use only: Celeb-DF v2, DFDC, FaceForensics++ and LFW are licensed for non-commercial research"
