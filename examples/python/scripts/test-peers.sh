#!/usr/bin/env bash
# Runs all tests of the package, those against facenet-pytorch, timm and OpenCV too, checks its types, and executes the
# notebook. Makes a virtual environment with the peers in $DEEPSIGHT_PYTHON: a few gigabytes, once.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${DEEPSIGHT_PYTHON:-$HOME/.cache/deepsight-python}"
python="${PYTHON:-python3}"
command -v "$python" >/dev/null || { echo "test-peers.sh: $python is missing (PYTHON names another)" >&2; exit 2; }
if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || { echo "test-peers.sh: cannot make a virtual environment in $venv" >&2; exit 2; }
fi
"$venv/bin/python" -m pip install --quiet --requirement scripts/requirements.txt
# It requires older releases of torch, numpy and Pillow than those with which it works.
"$venv/bin/python" -m pip install --quiet --no-deps facenet-pytorch==2.6.0
"$venv/bin/python" -m pip install --quiet --no-deps --force-reinstall .
"$venv/bin/python" -m pytest "$@"
scripts/check-types.sh "$venv"
"$venv/bin/python" scripts/run-notebook.py notebooks/tour.ipynb
