#!/usr/bin/env bash
# Train under slurm, one task per GPU.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=..] [PORT=..] \
#     bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# GPUS of all machines together; more than GPUS_PER_NODE of them take several machines.
# GPUS=0 TASKS=2: two tasks on CPUs. The port follows from the job's number unless PORT is given.
# See docs/multi_gpu.md.
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
case $gpus${GPUS_PER_NODE:-}${TASKS:-} in
  *[!0-9]*)
    echo "error: expected numbers in GPUS, GPUS_PER_NODE and TASKS, got '$gpus', '${GPUS_PER_NODE:-}', '${TASKS:-}'" >&2
    exit 2
    ;;
esac
cpus=${CPUS_PER_TASK:-5}
if [ "$gpus" -gt 0 ]; then
  per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
  if [ "$per_node" -eq 0 ] || [ $((gpus % per_node)) -ne 0 ]; then
    echo "error: GPUS=$gpus: expected a multiple of GPUS_PER_NODE=$per_node. Change one of them." >&2
    exit 2
  fi
  resources=(--gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node")
else
  resources=(--ntasks="${TASKS:-1}")
  set -- --device cpu "$@"
fi
[ -z "${PORT:-}" ] || export MASTER_PORT=$PORT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cpus}
# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun -p "$partition" --job-name="$job" "${resources[@]}" --cpus-per-task="$cpus" \
  --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
  "$PYTHON" -u "$root/tools/train.py" "$config" --launcher slurm "$@"
