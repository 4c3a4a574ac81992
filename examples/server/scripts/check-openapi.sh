#!/usr/bin/env bash
# Checks the server against its own OpenAPI document: the document is valid, real answers match its schemas, and the
# answers to a thousand requests that schemathesis generates, valid and invalid, are as it says. Exits with 1 on any
# finding.
#
#   examples/server/scripts/check-openapi.sh [BINARY]
#
# BINARY is the server; by default the one in cargo's target folder (CARGO_TARGET_DIR, else target). Nothing is built.
# It needs Python 3.11 and ffmpeg; the packages of requirements.txt go into a virtual environment in the cache folder,
# once. It takes about a minute.
set -euo pipefail
cd "$(dirname "$0")"

environment="${XDG_CACHE_HOME:-$HOME/.cache}/deepsight/openapi-venv"
# A copy of the list says for which versions the environment was made.
if ! cmp -s requirements.txt "$environment/requirements.txt"; then
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$environment/requirements.txt"
fi

binary=()
if [ $# -gt 0 ]; then
    binary=("$(cd "$OLDPWD" && realpath "$1")")
fi
exec "$environment/bin/python" check_openapi.py "${binary[@]}"
