#!/usr/bin/env bash
# Sets up the environment where needed, then runs the tests; arguments go to pytest:
#   bash tools/run_tests.sh
#   bash tools/run_tests.sh tests/gates/test_position.py -x
#   bash tools/run_tests.sh -m slow              # the slow ones only
#   bash tools/run_tests.sh -n 0 -s TEST         # in one process: with its output, or a debugger
# FREEKD_TEST_WORKERS says how many run side by side (default: one for each core, at most 8).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
started=$SECONDS
bash tools/setup_env.sh
venv=${FREEKD_VENV:-$root/.venv}

# Tests run side by side, each process with its share of the cores. The tensors are small: more
# threads only wait for each other.
cores=$(nproc)
workers=${FREEKD_TEST_WORKERS:-$((cores < 8 ? cores : 8))}
share=$((cores / workers))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share < 1 ? 1 : share < 4 ? share : 4))}
beside=()
[ "$workers" = 1 ] || beside=(-n "$workers")
export MPLBACKEND=${MPLBACKEND:-Agg} PYTHONNOUSERSITE=1
status=0
"$venv/bin/python" -m pytest -q -m "not slow" "${beside[@]}" "$@" || status=$?
printf 'run_tests.sh: %d s in all, exit status %d\n' $((SECONDS - started)) "$status"
exit "$status"
