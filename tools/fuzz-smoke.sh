#!/usr/bin/env bash
# Runs each fuzz target for a while: tools/fuzz-smoke.sh [SECONDS], 30 if not given.
#
# Needs a nightly toolchain and cargo-fuzz (`rustup toolchain install nightly && cargo install cargo-fuzz`). Without them it says so and
# runs the same functions from a seeded generator instead, as `cargo test` does: fewer inputs, not guided by coverage.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT

if ! cargo +nightly --version >/dev/null 2>&1 || ! command -v cargo-fuzz >/dev/null; then
  printf '\n*** NOT FUZZED: there is no nightly toolchain or no cargo-fuzz.\n' >&2
  printf '*** Install them:  rustup toolchain install nightly && cargo install cargo-fuzz\n' >&2
  printf '*** Running the seeded stand-in on the stable toolchain.\n\n' >&2
  cargo test --quiet -p smidgen-tests --lib faults
  cargo test --quiet -p smidgen-tests --test loader_faults mutations
  exec cargo test --quiet -p smidgen-tests --test tflite_faults
fi

cargo run --quiet -p smidgen-tests --example fuzz_corpus -- "$corpus"
for target in model_load_and_run idx tflite_import; do
  printf '\n== fuzz %s for %s s\n' "$target" "$seconds" >&2
  # A run of more than 10 s is a hang; more than 1 GiB is an allocation that a header asked for.
  cargo +nightly fuzz run "$target" "$corpus/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1
done
