"""Check a config before hours of training: shapes, weights, data, losses, time, memory.

python tools/doctor.py CONFIG [--batches N] [--target R] [--json FILE] [--draw FILE.png]
    [--cfg-options k=v ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.doctor()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.doctor import main

    sys.exit(main())
