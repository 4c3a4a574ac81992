#!/usr/bin/env bash
# Trains the bundled model, and writes the reports on it:
#   scripts/train-bundled.sh DATA START OUTPUT
# DATA is a folder with celebdf/, dfdc/ and ffpp/ (crops, each with its manifest.csv: file, label, video, target_id,
# source_id, split, original) and lfw/ (photographs). START is the file that training begins with: the previous bundled
# model, to train it further, or weights of ImageNet. An interrupted run continues where it stopped. EPOCHS (5)
# lengthens or shortens every stage.
set -euo pipefail
data=$(realpath "$1") start=$(realpath "$2")
mkdir -p "$3"
output=$(realpath "$3")
epochs=${EPOCHS:-5}
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

terms="Research use only: Celeb-DF v2, DFDC, FaceForensics++ and LFW are licensed for non-commercial research"
# Starts a run of that name with those settings, or continues it.
stage() {
    local run=$output/$1 resume=
    shift
    test ! -e "$run/checkpoint.safetensors" || resume=--resume
    program train -- --manifest "$crops/celebdf/manifest.csv" --manifest "$crops/dfdc/manifest.csv" \
        --manifest "$crops/lfw/manifest.csv" --draws "$draws" --paired 0.5 --donors 0.3 --drop-path "$drop_path" \
        --dropout "$dropout" --cache 9000 \
        --output-dir "$run" $resume --name efficientnet-lite0-mixed --terms "$terms" "$@"
}
trained_on="Celeb-DF v2, DFDC and FaceForensics++ (c23) faces of the train splits and real faces of LFW"
trained_on+=", also blended into themselves and each other; ImageNet start"
of_all() {
    stage "$@" --manifest "$crops/ffpp/manifest.csv" --trained-on "$trained_on"
}
draws=9600 drop_path=0.1 dropout=0.3
# Without FaceForensics++: its AUC there is the figure for forgeries of a data set never seen.
stage left-out --init "$start" --input-size 160 --source "$crops/dfdc=0.5" --source "$crops/lfw=0.15" \
    --self-blended 0.35 \
    --epochs "$epochs" --warmup 0.25 --learning-rate 8e-4 --ema 0.998
# Small pictures first, which take half the time; then the input size of the bundled model.
of_all small --init "$output/left-out/best.safetensors" --input-size 160 --source "$crops/dfdc=0.35" \
    --source "$crops/ffpp=0.4" \
    --source "$crops/lfw=0.08" --self-blended 0.25 --epochs "$epochs" --warmup 0.15 --learning-rate 8e-4 \
    --minimum-rate 2.5e-4 --ema 0.998
of_all last --init "$output/small/best.safetensors" --input-size 192 --source "$crops/dfdc=0.31" \
    --source "$crops/ffpp=0.38" \
    --source "$crops/lfw=0.07" --self-blended 0.2 --epochs $((epochs / 2)) --warmup 0.1 --learning-rate 5e-4 --ema 0.997

# The same with more faces, more unchanged fakes of Celeb-DF, and less dropout.
draws=14400 drop_path=0.05 dropout=0.2
of_all more --init "$output/last/best.safetensors" --input-size 160 --source "$crops/dfdc=0.33" \
    --source "$crops/ffpp=0.35" \
    --source "$crops/lfw=0.05" --self-blended 0.15 --epochs "$epochs" --warmup 0.1 --learning-rate 8e-4 \
    --minimum-rate 4e-4 --ema 0.998
of_all fine --init "$output/more/best.safetensors" --input-size 192 --source "$crops/dfdc=0.34" \
    --source "$crops/ffpp=0.36" \
    --source "$crops/lfw=0.05" --self-blended 0.15 --epochs $(((epochs + 1) / 2)) --warmup 0.05 \
    --learning-rate 4.5e-4 --ema 0.997
# Every stage draws samples of its own, because its seed is made from the model that it starts from.
draws=21600
of_all final --init "$output/fine/best.safetensors" --input-size 192 --source "$crops/dfdc=0.32" \
    --source "$crops/ffpp=0.4" \
    --source "$crops/lfw=0.05" --self-blended 0.15 --epochs $(((4 * epochs + 4) / 5)) --warmup 0.05 \
    --learning-rate 6e-4 --ema 0.998
# Larger pictures: re-enactments change little but the mouth.
draws=18000
of_all larger --init "$output/final/best.safetensors" --input-size 224 --source "$crops/dfdc=0.3" \
    --source "$crops/ffpp=0.45" \
    --source "$crops/lfw=0.05" --self-blended 0.15 --epochs $(((4 * epochs + 4) / 5)) --warmup 0.1 \
    --learning-rate 6e-4 --ema 0.998

# The golden input: NASA's portrait, cut out.
mkdir -p "$output/photo"
cp deepsight-face/tests/photos/one.png "$output/photo/"
program preprocess -- --data-dir "$output/photo" --label real --output-dir "$crops/photo" --split 1/0/0
model=$output/efficientnet_lite0.safetensors
lists=(--manifest "$crops/celebdf/manifest.csv" --manifest "$crops/dfdc/manifest.csv"
    --manifest "$crops/ffpp/manifest.csv" --split val)
# Averages a face and its mirror image: this adds a point of AUC on every source, and doubles the time.
program convert -- --model "$output/larger/best.safetensors" --mirrored true --output "$output/calibrated.safetensors"
program evaluate -- --model-path "$output/calibrated.safetensors" "${lists[@]}" --calibrate --quality 150 --bootstrap 0
program convert -- --model "$output/calibrated.safetensors" --golden "$crops/photo/real/one.png" --output "$model"
program evaluate -- --model-path "$model" "${lists[@]}" --robustness \
    --output-report "$output/model-report.html" --output-report "$output/model-report.txt" \
    --output-report "$output/model-report.json"
program evaluate -- --model-path "$output/left-out/best.safetensors" "${lists[@]}" \
    --output-report "$output/left-out-report.txt"
