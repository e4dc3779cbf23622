#!/usr/bin/env bash
# Evaluate in several processes: NCCL with GPUs, gloo without.
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT for several machines; PYTHON.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
  exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
config=$1 checkpoint=$2 processes=$3
shift 3
launch "$processes" "$root/tools/test.py" "$config" "$checkpoint" "$@"
