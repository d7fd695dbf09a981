#!/usr/bin/env bash
# Everything that CI checks, from the cheapest to the dearest. Stops at the first failure and names it.
set -euo pipefail
cd "$(dirname "$0")/.."

thumb_targets=(thumbv6m-none-eabi thumbv7m-none-eabi thumbv7em-none-eabihf thumbv8m.main-none-eabihf)

step() {
  printf '\n== %s\n' "$1" >&2
  shift
  local start=$SECONDS
  "$@" || { printf '\nFAILED: %s\n' "$*" >&2; exit 1; }
  printf '   %d s\n' $((SECONDS - start)) >&2
}

firmware() { (cd firmware && "$@"); }
boards() { (cd firmware/boards && "$@"); }
board() { (cd "firmware/boards/$1" && shift && "$@"); }

if [ -z "${SMIDGEN_SHARED:-}" ]; then
  printf 'SMIDGEN_SHARED is not set: tests on the full MNIST set will be skipped (and fail under CI=true).\n' >&2
fi

step "format" cargo fmt --all --check
step "format of the firmware" firmware cargo fmt --all --check
step "clippy, host" cargo clippy --workspace --all-targets --quiet -- -D warnings
for target in "${thumb_targets[@]}"; do
  step "clippy, core for $target" cargo clippy -p smidgen --target "$target" --quiet -- -D warnings
done
step "clippy, core's features" cargo clippy -p smidgen --features defmt,micromath --target thumbv7em-none-eabihf --quiet -- -D warnings
step "clippy, core's vectors of 64-bit Arm" cargo clippy -p smidgen --features simd --target aarch64-unknown-linux-gnu --quiet -- -D warnings
step "clippy, firmware" firmware cargo clippy --quiet -- -D warnings
step "format of the boards' images" boards cargo fmt --all --check
step "images for boards" tools/boards.py
host=$(rustc -vV | sed -n 's/^host: //p')
step "clippy, the boards' application" boards cargo clippy --quiet -p smidgen-application --target "$host" --all-targets -- -D warnings
# With a key, as boards that take only what is signed have one; without one the same code leaves something out.
step "the boards' application, here" env SMIDGEN_PUBLIC_KEY="$PWD/firmware/boards/application/test-keys/public.pem" \
  bash -c 'cd firmware/boards && cargo test --quiet -p smidgen-application --features signed --target "$1"' application "$host"
for name in microbit-v2 nrf52840-dk nucleo-f446re pico pico-2 mps2-an386; do
  step "clippy, $name" board "$name" cargo clippy --release --quiet -- -D warnings
done
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
step "licences and sources" cargo deny --log-level error check licenses bans sources
step "licences and sources of the boards' images" cargo deny --manifest-path firmware/boards/Cargo.toml --config deny.toml --log-level error check licenses bans sources
step "tests" cargo test --workspace --quiet
# Neon's kernels give the scalar ones' bits. A 64-bit Arm has run them by now.
if [ "$(uname -m)" != aarch64 ]; then
  step "tests, core's vectors of 64-bit Arm, emulated" env CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    cargo test -p smidgen --features simd --target aarch64-unknown-linux-gnu --lib --tests --quiet
fi
step "tests, core with inexact functions" cargo test -p smidgen --features micromath --lib --quiet
step "counts and sizes, of two models on one core" tools/benchmarks.py --quick-check
step "fuzz targets, a short run" tools/fuzz-smoke.sh 20
