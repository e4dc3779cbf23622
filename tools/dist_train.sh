#!/usr/bin/env bash
# Train in several processes: NCCL with GPUs, gloo without.
#   bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT for several machines; PYTHON.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]" >&2
  exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
config=$1 processes=$2
shift 2
launch "$processes" "$root/tools/train.py" "$config" "$@"
