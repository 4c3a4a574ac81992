#!/usr/bin/env bash
# Installs the package into a virtual environment around a module that cargo has built, as `pip install` of the wheel
# would. maturin would choose other features of Burn than a build of the workspace, and compile it again.
#   cargo build --release --workspace --lib --example analyze
#   examples/python/scripts/install-built.sh VENV target/release/lib_deepsight.so
set -euo pipefail
venv="$(cd "$1" && pwd)"
library="$(cd "$(dirname "$2")" && pwd)/$(basename "$2")"
cd "$(dirname "$0")/.."
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
rm -rf "$site/deepsight" "$site"/deepsight-*.dist-info
cp -r python/deepsight "$site/deepsight"
# A file that a running program has open must not be overwritten.
cp --remove-destination "$library" "$site/deepsight/_deepsight.abi3.so"
find "$site/deepsight" -name __pycache__ -prune -exec rm -r {} +
"$venv/bin/maturin" pep517 write-dist-info --metadata-directory "$site" --interpreter "$venv/bin/python" >/dev/null
