# Sourced by the launchers: which Python, and how many threads each process may use.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  for candidate in "$root/.venv/bin/python" "${FREEKD_VENV:-/nonexistent}/bin/python"; do
    [ -x "$candidate" ] && PYTHON=$candidate
  done
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# set_threads PROCESSES: share the cores, as torchrun would give each process a single thread.
set_threads() {
  local cores
  cores=$(nproc 2>/dev/null || echo 1)
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores / $1 > 0 ? cores / $1 : 1))}
}

# launch PROCESSES SCRIPT ARGS...: one process per GPU, or per share of the CPU, over torchrun.
launch() {
  local processes=$1 nnodes=${NNODES:-1} port
  shift
  case $processes in
    '' | *[!0-9]* | 0)
      printf 'error: expected the number of processes (GPUS), got "%s"\n' "$processes" >&2
      exit 2
      ;;
  esac
  set_threads "$processes"
  port=${PORT:-29500}
  # Two runs on one machine must not meet at one port; several nodes must.
  if [ -z "${PORT:-}" ] && [ "$nnodes" = 1 ]; then port=$((29500 + RANDOM % 1000)); fi
  exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$nnodes" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" \
    "$@" --launcher pytorch
}
