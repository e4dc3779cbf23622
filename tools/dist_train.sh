#!/usr/bin/env bash
# Train in several processes: NCCL with GPUs, gloo without.
#   bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# GPUS: processes on this machine. Several machines: the same command on each, with NNODES (how many),
# NODE_RANK (which one: 0, 1, ...), MASTER_ADDR (of machine 0) and PORT (29500). On one machine each
# run finds a free port. PYTHON: which interpreter. See docs/multi_gpu.md.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]" >&2
  exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
config=$1 processes=$2
shift 2
launch "$processes" "$root/tools/train.py" "$config" "$@"
