#!/usr/bin/env bash
# Sets up the environment where needed, then runs the tests; arguments go to pytest:
#   bash tools/run_tests.sh
#   bash tools/run_tests.sh tests/gates/test_position.py -x
#   bash tools/run_tests.sh -m slow              # the slow ones only
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
started=$SECONDS
bash tools/setup_env.sh
venv=${FREEKD_VENV:-$root/.venv}

# The tensors of the tests are small: more threads only wait for each other.
cores=$(nproc)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores < 4 ? cores : 4))}
export MPLBACKEND=${MPLBACKEND:-Agg} PYTHONNOUSERSITE=1
status=0
"$venv/bin/python" -m pytest -q -m "not slow" "$@" || status=$?
printf 'run_tests.sh: %d s in all, exit status %d\n' $((SECONDS - started)) "$status"
exit "$status"
