#!/usr/bin/env bash
# Installs what the project needs and does not find, and says so. With --run-only: what `make demo` needs; without: what `make test` needs too.
#
#   rustup's toolchain and targets   as rust-toolchain.toml says   (rustup)
#   qemu-system-arm                  emulated Cortex-M boards      (apt)
#   cargo-deny                       licences and sources of dependencies (cargo; tests only)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    say "this needs root, and there is no sudo: run '$*' as root"
    return 1
  fi
}

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

if ! command -v cc >/dev/null; then
  say "installing gcc (the linker for host programs) with apt"
  as_root apt-get update -qq
  as_root apt-get install -y -qq gcc libc6-dev
fi

if ! command -v qemu-system-arm >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    say "qemu-system-arm is missing and there is no apt-get: install QEMU for Arm system emulation, 7.2 or later"
    exit 1
  fi
  say "installing qemu-system-arm with apt"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-arm >/dev/null
fi

[ "${1:-}" = --run-only ] && exit 0

if ! command -v cargo-deny >/dev/null; then
  say "installing cargo-deny (takes some minutes, once)"
  cargo install --quiet --locked cargo-deny --version "^0.20"
fi
