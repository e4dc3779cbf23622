"""Print what a config comes to: bases merged, pair or prompt spelled out, models resolved.

python tools/print_config.py CONFIG [--key algorithm.distiller] [--short] [--cfg-options k=v ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.print_config()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.engine.print_config import main

    sys.exit(main())
