"""Run a study: configs x seeds, each run in a process of its own, and the table that compares them.

python tools/study.py STUDY [--jobs N] [--dry-run] [--shard K/N] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.study()  # before anything slow is imported: --help and wrong options end here
    from freekd.study.main import main

    sys.exit(main(args))
