"""Train a plain mmdet/mmseg model, frequency prompts (stage 1) or a student (stage 2).

python tools/train.py CONFIG [--work-dir DIR] [--auto-resume] [--seed N] [--cfg-options k=v ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.train()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.engine.train import main

    sys.exit(main())
