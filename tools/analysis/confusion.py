"""Confusion matrices of one or more models, and their differences, as numbers and a picture.

python tools/analysis/confusion.py CONFIG CHECKPOINT [NAME=[CONFIG,]CHECKPOINT ...] [--out FOLDER]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.confusion()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.analysis.confusion import main

    sys.exit(main())
