#!/usr/bin/env bash
# Writes the public API of each published library to docs/public-api: scripts/public-api.sh.
# scripts/public-api.sh --check compares it with these files instead, and fails with the difference.
# Needs `cargo install --locked cargo-public-api` and Rust 1.95. Works offline.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-}
if [ "$#" -gt 1 ] || { [ -n "$mode" ] && [ "$mode" != --check ]; }; then
    echo "usage: scripts/public-api.sh [--check]" >&2
    exit 2
fi
# Another Rust lists other auto traits, and its rustdoc may write another format.
rust=1.95
if ! rustc --version | grep -q "^rustc $rust\(\.[0-9]*\)\? "; then
    echo "$(rustc --version) is not Rust $rust: set RUSTUP_TOOLCHAIN=$rust" >&2
    exit 2
fi
if ! command -v cargo-public-api >/dev/null; then
    echo "cargo-public-api is missing: cargo install --locked cargo-public-api" >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

# JSON is an unstable output of rustdoc. Only rustdoc may know: build scripts that look whether unstable features are
# allowed would have everything that depends on them compiled again.
printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n' >"$work/rustdoc"
chmod +x "$work/rustdoc"
# All members at once, so that Burn has the features that the other commands compile it with.
RUSTDOC="$work/rustdoc" RUSTDOCFLAGS="-Z unstable-options --output-format json" \
    cargo doc --quiet --workspace --no-deps --locked
target=$(cargo metadata --locked --offline --no-deps --format-version 1 |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

differ=0
for crate in $(scripts/publish.sh --list); do
    cargo public-api --rustdoc-json "$target/doc/${crate//-/_}.json" --simplified >"$work/$crate.txt"
    if [ -z "$mode" ]; then
        cp "$work/$crate.txt" "docs/public-api/$crate.txt"
    elif ! diff -u "docs/public-api/$crate.txt" "$work/$crate.txt"; then
        differ=1
    fi
done
if [ "$differ" = 1 ]; then
    echo "The public API differs from docs/public-api." >&2
    echo "If that is intended, run scripts/public-api.sh and commit the files." >&2
    exit 1
fi
