#!/usr/bin/env bash
# Installs what the project needs and does not find, and says so. With --run-only: what `make demo` needs; without: what `make test` needs too.
#
#   rustup's toolchain and targets   as rust-toolchain.toml says   (rustup)
#   gcc, qemu-system-arm             linker; emulated Cortex-M boards (apt)
#   qemu-user, gcc-aarch64-linux-gnu what runs the tests of 64-bit Arm, and their linker (apt; tests only)
#   python3, python3-venv; g++ if there is a nightly toolchain                   (apt; tests only)
#   flip-link, which links the boards' images                      (cargo; tests only)
#   cargo-deny; cargo-fuzz if there is a nightly toolchain         (cargo; tests only)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    say "this needs root, and there is no sudo: run '$*' as root"
    return 1
  fi
}

# What a fresh clone's builds take, in megabytes (`du -scm target firmware/target firmware/boards/target fuzz/target .venv` afterwards). Incremental builds keep as
# much again of this workspace's own crates.
if [ "${1:-}" = --run-only ]; then needs=1500; elif [ "${CARGO_INCREMENTAL:-1}" = 0 ]; then needs=7000; else needs=11000; fi
target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
there=$(du -scm "$target" firmware/target firmware/boards/target fuzz/target .venv 2>/dev/null | tail -1 | cut -f1 || true)
free=$(df --output=avail -BM "$target" 2>/dev/null | tail -1 | tr -dc 0-9 || true)
if [ -n "$free" ] && [ $((free + there)) -lt $needs ]; then
  say "the disk of $(realpath "$target") has $free MB free, but $needs MB are needed, $there MB of which are there: free some space, or set CARGO_TARGET_DIR to a folder on"
  say "another disk (without incremental builds, CARGO_INCREMENTAL=0 make test, it is 7000 MB)"
  exit 1
fi

if ! command -v rustup >/dev/null; then
  say "rustup is missing: install it from https://rustup.rs, then run this again"
  exit 1
fi

# Asking for the toolchain's version installs the toolchain, its components and targets as rust-toolchain.toml lists them.
cargo --version >/dev/null
mapfile -t targets < <(sed -n 's/^targets = \[\(.*\)\]/\1/p' rust-toolchain.toml | tr -d '",' | tr ' ' '\n')
for target in "${targets[@]}"; do
  if ! rustup target list --installed | grep -qx "$target"; then
    say "adding the Rust target $target"
    rustup target add "$target"
  fi
done

apt_install() {
  if ! command -v apt-get >/dev/null; then
    say "$1 is missing and there is no apt-get: install it, then run this again"
    exit 1
  fi
  say "installing $1 with apt"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The linker for host programs.
command -v cc >/dev/null || apt_install gcc libc6-dev
# 7.2 or later.
command -v qemu-system-arm >/dev/null || apt_install qemu-system-arm

[ "${1:-}" = --run-only ] && exit 0

# The core's tests for 64-bit Arm run emulated, if this is not one.
if [ "$(uname -m)" != aarch64 ]; then
  command -v qemu-aarch64 >/dev/null || apt_install qemu-user
  command -v aarch64-linux-gnu-gcc >/dev/null || apt_install gcc-aarch64-linux-gnu libc6-dev-arm64-cross
fi

# Makes the bundled digits again, to see that they are what the script makes.
command -v python3 >/dev/null || apt_install python3
# A virtual environment for TensorFlow Lite Micro, which checks what is exported.
python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv

# Compiled for a short run: optimizing them takes longer than running them.
tool() { CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo install --quiet --locked "$@"; }

if ! command -v cargo-deny >/dev/null; then
  say "installing cargo-deny (takes some minutes, once)"
  tool cargo-deny --version "^0.20"
fi

if ! command -v flip-link >/dev/null; then
  say "installing flip-link"
  tool flip-link --version "^0.1.12"
fi

# Fuzzing needs a nightly toolchain. Without one a seeded stand-in runs, and says so.
if cargo +nightly --version >/dev/null 2>&1; then
  command -v c++ >/dev/null || apt_install g++
  if ! command -v cargo-fuzz >/dev/null; then
    say "installing cargo-fuzz"
    tool cargo-fuzz
  fi
fi
