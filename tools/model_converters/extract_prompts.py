"""Take the prompt file out of a full stage-1 checkpoint.

python tools/model_converters/extract_prompts.py CKPT --out-path prompts.pth \
    [--config CONFIG] [--force]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd.convert.prompts import main_extract  # noqa: E402

if __name__ == "__main__":
    sys.exit(main_extract())
