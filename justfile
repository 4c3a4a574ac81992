# The daily commands; `just` lists them. CONTRIBUTING.md says more.
set positional-arguments

_default:
    @just --list

# All tests except the browser's
test *ARGS:
    cargo test --workspace "$@"

# The dashboard's tests, in Chromium
test-browser:
    cargo test --workspace --test browser

# Clippy, as .ci/run calls it
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Format the code
fmt:
    cargo fmt --all

# Build the documentation, and open it
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --open

# Write the public API of the libraries to docs/public-api
api *ARGS:
    scripts/public-api.sh "$@"

# A bench, such as `just bench detect`; all of them without a name
bench NAME="":
    cargo bench -p deepsight-benches {{ if NAME == "" { "" } else { "--bench " + NAME } }}

# Analyse a clip; the bundled one without a name
demo *ARGS:
    cargo run --release --example analyze -- "$@"

# The server, on http://localhost:8000
serve *ARGS:
    cargo run --release -p deepsight-server -- "$@"

# Install the program `deepsight`
install *ARGS:
    cargo install --locked --path examples/cli "$@"

# Find spelling mistakes (https://github.com/crate-ci/typos)
spell:
    typos

# Everything that must hold before a change lands
ci:
    .ci/run
