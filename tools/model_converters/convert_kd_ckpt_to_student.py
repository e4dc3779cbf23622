"""Take the student out of a distillation checkpoint, for stock mmdet/mmseg without freekd.

python tools/model_converters/convert_kd_ckpt_to_student.py CKPT --out-path OUT \
    [--check CONFIG] [--force]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd.convert.student import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
