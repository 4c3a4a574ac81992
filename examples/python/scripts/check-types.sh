#!/usr/bin/env bash
# Checks the types of the package that is installed in a virtual environment, and its stubs against the module.
#   examples/python/scripts/check-types.sh VENV
set -euo pipefail
venv="$(cd "$1" && pwd)"
settings="$(cd "$(dirname "$0")/.." && pwd)/pyproject.toml"
# Runs outside the source folder, so that the installed package is checked.
cd "$venv"
"$venv/bin/mypy" --config-file "$settings" --python-version 3.10 --package deepsight
"$venv/bin/stubtest" --mypy-config-file "$settings" deepsight._deepsight
