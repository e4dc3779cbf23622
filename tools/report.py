"""One page of what was run and what came out: tables, curves, pictures, commands.

python tools/report.py WORK_DIR [WORK_DIR ...] [--out report.html] [--force]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    cli.report()  # before anything slow is imported: --help and wrong options end here
    from freekd.report import main

    sys.exit(main())
