"""Keep some of a model's classes, for a teacher that knows more than the student is to learn.

python tools/model_converters/keep_classes.py CONFIG CKPT --classes NAME ... --out-path OUT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd.convert.classes import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
