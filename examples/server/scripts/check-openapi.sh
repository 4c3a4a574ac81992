#!/usr/bin/env bash
# Holds the server to its own OpenAPI document: the document is a valid one, real answers fit its schemas, and a thousand
# requests that schemathesis makes up, good and bad, are answered as it says. Exits with 1 on any finding.
#
#   examples/server/scripts/check-openapi.sh [BINARY]
#
# BINARY is the server; by default the one in cargo's target folder (CARGO_TARGET_DIR, else target). Nothing is built. It
# needs Python 3.11 and ffmpeg; what requirements.txt names goes into a virtual environment in the cache folder, once. It
# takes about a minute.
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
