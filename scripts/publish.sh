#!/usr/bin/env bash
# Publishes every library, each after those it depends on: scripts/publish.sh, or scripts/publish.sh --dry-run.
# scripts/publish.sh --list prints their names.
set -euo pipefail
cd "$(dirname "$0")/.."
crates=(deepsight-kernels deepsight-weights deepsight-core deepsight-face deepsight-video deepsight-train
    deepsight-device deepsight)
if [ "${1:-}" = --list ]; then
    printf '%s\n' "${crates[@]}"
    exit
fi
flags=()
for crate in "${crates[@]}"; do
    flags+=(-p "$crate")
done
exec cargo publish --locked "${flags[@]}" "$@"
