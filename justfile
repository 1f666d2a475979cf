# Short names for what CONTRIBUTING.md describes.

check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

test:
    cargo test --workspace

# Needs FARSTEP_CODEX: the real peer's program.
interop:
    cargo test --package farstep-integration --test interop

demo:
    cargo demo

size:
    cargo xtask size

# The executor for Windows, driven under Wine.
windows:
    FARSTEP_WINDOWS_EXECUTOR=$(integration/windows/build)/farstep-executor.exe \
        cargo test --package farstep-integration --test windows
    integration/windows/build test --package farstep-path-uri

# What single parts cost; against the peer measures the harness of docs/performance.md.
bench:
    cargo bench --package farstep-protocol --package farstep-path-uri

# What one rendezvous node does, next to what it should; some five minutes after it was built.
bench-rendezvous:
    cargo xtask bench-rendezvous

# Needs cargo-fuzz. What it finds stays below target/; `just fuzz --keep` adds to the corpora.
fuzz *ARGUMENTS:
    cargo xtask fuzz {{ARGUMENTS}}

ci:
    bash .ci/run
