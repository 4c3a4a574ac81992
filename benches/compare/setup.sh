#!/usr/bin/env bash
# Makes the virtual environment that compare.py runs in, in $DEEPSIGHT_PEERS. A few gigabytes, once.
set -euo pipefail
folder="$(cd "$(dirname "$0")" && pwd)"
peers="${DEEPSIGHT_PEERS:-$HOME/.cache/deepsight-peers}"
python="${PYTHON:-python3}"
command -v "$python" >/dev/null || { echo "setup.sh: $python is not installed (PYTHON names another)" >&2; exit 2; }
if [ ! -x "$peers/bin/python" ]; then
    "$python" -m venv "$peers" || { echo "setup.sh: cannot make a virtual environment in $peers" >&2; exit 2; }
fi
"$peers/bin/python" -m pip install --quiet --requirement "$folder/requirements.txt"
# It requires older releases of torch, numpy and Pillow than those with which it works.
"$peers/bin/python" -m pip install --quiet --no-deps facenet-pytorch==2.6.0
"$peers/bin/python" -c 'import av, cv2, facenet_pytorch, onnxruntime, openvino, timm, torch'
echo "ready: $peers/bin/python benches/compare/compare.py --help"
