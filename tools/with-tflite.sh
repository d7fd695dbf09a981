#!/usr/bin/env bash
# Runs Python with TensorFlow and TensorFlow Lite Micro of pinned versions, in a virtual environment that is made on first use.
#
#   tools/with-tflite.sh tools/make_tflite_goldens.py [ARGUMENTS]
#   tools/with-tflite.sh --micro tools/run_tflite_micro.py NET.tflite X.npy Y.npy
#
# The environment is .venv/tflite (2.1 GB), or SMIDGEN_TFLITE_VENV; with --micro, which is TensorFlow Lite Micro without TensorFlow, one of these if it is there, else
# .venv/tflite-micro (103 MB). Needs Python 3.11.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
venv="${SMIDGEN_TFLITE_VENV:-$root/.venv/tflite}"
requirements="$(cat "$root/tools/tflite_goldens/requirements.txt")"
is_made() { [ "$(cat "$venv/installed.txt" 2>/dev/null)" = "$requirements" ]; }

if [ "${1:-}" = --micro ]; then
  shift
  if ! is_made; then
    venv="$root/.venv/tflite-micro"
    requirements="$(grep -E '^(numpy|tflite-micro)==' <<<"$requirements")"
  fi
fi
if ! is_made; then
  printf 'making %s\n' "$venv" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --pre --requirement <(printf '%s\n' "$requirements")
  printf '%s\n' "$requirements" >"$venv/installed.txt"
fi
# Without these TensorFlow prints its greetings, and sums floats in an order that depends on the computer.
export TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS="${TF_ENABLE_ONEDNN_OPTS:-0}" CUDA_VISIBLE_DEVICES=-1
exec "$venv/bin/python" "$@"
