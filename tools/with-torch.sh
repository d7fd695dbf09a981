#!/usr/bin/env bash
# Runs Python with PyTorch of a pinned version, in a virtual environment that is made on first use.
#
#   tools/with-torch.sh tools/bench_train/torch_nets.py ARGUMENTS
#
# The environment is .venv/torch (about 5 GB: the package index has PyTorch with all that graphics cards need), or SMIDGEN_TORCH_VENV.
# PyTorch compiles with g++ at run time. Needs Python 3.11.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
requirements="$root/tools/bench_train/requirements.txt"
venv="${SMIDGEN_TORCH_VENV:-$root/.venv/torch}"

if [[ -z "${SMIDGEN_TORCH_VENV:-}" ]] && ! cmp -s "$requirements" "$venv/installed.txt"; then
  printf 'making %s\n' "$venv" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$requirements"
  cp "$requirements" "$venv/installed.txt"
fi
exec "$venv/bin/python" "$@"
