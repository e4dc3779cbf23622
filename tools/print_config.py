"""Print what a config comes to: bases merged, pair or prompt spelled out, models resolved.

python tools/print_config.py CONFIG [--key algorithm.distiller] [--short] [--cfg-options k=v ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.config.print import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
