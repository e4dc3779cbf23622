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
  case $1 in
    '' | *[!0-9]* | 0) ;; # freekd.engine.torchrun says what is wrong
    *) set_threads "$1" ;;
  esac
  exec "$PYTHON" -m freekd.engine.torchrun "$@" --launcher pytorch
}
