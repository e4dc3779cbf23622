#!/usr/bin/env bash
# Install what is missing, then run the whole method on the bundled task.
#   bash tools/quickstart.sh [--task det|seg|cls|sam] [--fast] [--seeds 0 1 2] [--methods ...] [--jobs N]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$here/tools/setup_env.sh"
venv=${FREEKD_VENV:-.venv}
case $venv in /*) ;; *) venv=$here/$venv ;; esac # relative to the clone, as setup_env.sh has it
exec "$venv/bin/python" "$here/tools/quickstart.py" "$@"
