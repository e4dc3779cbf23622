#!/usr/bin/env bash
# Every check of the project, the same for contributors and CI: lint, then tests, those in a browser
# included: where one cannot be installed, this fails instead of leaving them out.
# Runs both, then fails if either did. Arguments go to pytest.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
bash tools/setup_env.sh
bash tools/setup_browser.sh
export FREEKD_NEED_BROWSER=1
lint=0
bash tools/lint.sh || lint=$?
bash tools/run_tests.sh "$@"
[ "$lint" = 0 ] || echo "check.sh: the tests passed, lint did not (see above)"
exit "$lint"
