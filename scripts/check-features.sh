#!/usr/bin/env bash
# Type-checks every crate with each backend alone. Slow (each set compiles its own Burn): for before a release.
set -euo pipefail
cd "$(dirname "$0")/.."
for crate in deepsight-core deepsight-face deepsight-train deepsight-device deepsight-cli \
    deepsight-examples deepsight-server deepsight-benches; do
    for backend in flex ndarray cuda wgpu; do
        echo "== $crate, $backend alone"
        cargo check --locked -p "$crate" --no-default-features --features "$backend" --all-targets
    done
done
echo "== without any backend"
cargo check --locked -p deepsight-core --no-default-features
cargo check --locked -p deepsight-core --no-default-features --features model
cargo check --locked -p deepsight-face --no-default-features
cargo check --locked -p deepsight-train --no-default-features --features parquet
cargo check --locked -p deepsight-video --all-targets
cargo check --locked -p deepsight-video --all-targets --features c2pa
