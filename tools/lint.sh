#!/usr/bin/env bash
# Format, lint, types of the core, syntax of Python 3.8, and generated pages. Runs all of them, then
# fails if any did.
#   bash tools/lint.sh          # check
#   bash tools/lint.sh --fix    # format and mend what ruff can mend, then check
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
bash tools/setup_env.sh
python=${FREEKD_VENV:-$root/.venv}/bin/python

if [ "${1:-}" = --fix ]; then
  "$python" -m ruff check --fix --quiet . || true
  "$python" -m ruff format .
fi

failed=()
check() { # check NAME COMMAND...
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}

python38_syntax() {
  "$python" - <<'PY'
import ast
import sys
from pathlib import Path

bad = 0
files = [Path("setup.py"), *(p for d in ("freekd", "tools", "configs") for p in sorted(Path(d).rglob("*.py")))]
for path in files:
    try:
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 8))
    except SyntaxError as error:
        bad += 1
        print(f"{path}:{error.lineno}: {error.msg}")
print(f"{len(files)} files" if not bad else f"{bad} of {len(files)} files are not valid on Python 3.8")
sys.exit(bool(bad))
PY
}

check "format (ruff format)" "$python" -m ruff format --check --diff --quiet .
check "lint (ruff check)" "$python" -m ruff check .
check "types of the core (mypy --strict)" "$python" -m mypy
check "syntax of Python 3.8" python38_syntax
check "docs/methods.md is as the cards say" "$python" docs/write_methods.py --check

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nlint.sh: failed: %s\n' "$(printf '%s; ' "${failed[@]}" | sed 's/; $//')"
  printf 'bash tools/lint.sh --fix mends the format and some of the lint.\n'
  exit 1
fi
printf '\nlint.sh: all checks passed\n'
