"""Evaluate a checkpoint: of a plain model, a prompted teacher, a distillation, or a student alone.

python tools/test.py CONFIG CHECKPOINT [--eval bbox] [--json FILE] [--cfg-options k=v ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.test()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.engine.test import main

    sys.exit(main())
