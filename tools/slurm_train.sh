#!/usr/bin/env bash
# Train under slurm, one task per GPU (GPUS=0: one task per share of the CPU).
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [TASKS=..] [SRUN_ARGS=..] \
#     bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
  exit 2
fi
if ! command -v srun >/dev/null; then
  echo "error: expected slurm's srun on the PATH, found none; use tools/dist_train.sh" >&2
  exit 1
fi
source "$(dirname "${BASH_SOURCE[0]}")/_python.sh"
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
cpus=${CPUS_PER_TASK:-5}
if [ "$gpus" -gt 0 ]; then
  resources=(--gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node")
else
  resources=(--ntasks="${TASKS:-1}")
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cpus}
# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun -p "$partition" --job-name="$job" "${resources[@]}" --cpus-per-task="$cpus" \
  --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  "$PYTHON" -u "$root/tools/train.py" "$config" --launcher slurm "$@"
