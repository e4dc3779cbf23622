"""Compare what runs logged: tables, curves, time per step; runs of any version of mmcv 1.x.

python tools/analysis/logs.py RUN_OR_LOG [...] [--keys loss 'ratio.*'] [--plot FILE] [--csv FILE]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    cli.logs()  # before anything slow is imported: --help and wrong options end here
    from freekd.analysis.log_main import main

    sys.exit(main())
