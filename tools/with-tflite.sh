#!/usr/bin/env bash
# Runs Python with TensorFlow and TensorFlow Lite Micro of pinned versions, in a virtual environment that is made on first use.
#
#   tools/with-tflite.sh tools/make_tflite_goldens.py [ARGUMENTS]
#
# The environment is .venv/tflite (about 1.5 GB), or SMIDGEN_TFLITE_VENV. Needs Python 3.11.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
requirements="$root/tools/tflite_goldens/requirements.txt"
venv="${SMIDGEN_TFLITE_VENV:-$root/.venv/tflite}"

if ! cmp -s "$requirements" "$venv/installed.txt"; then
  printf 'making %s\n' "$venv" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --pre --requirement "$requirements"
  cp "$requirements" "$venv/installed.txt"
fi
# Without these TensorFlow prints its greetings, and sums floats in an order that depends on the computer.
export TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS="${TF_ENABLE_ONEDNN_OPTS:-0}" CUDA_VISIBLE_DEVICES=-1
exec "$venv/bin/python" "$@"
