"""Export a student to ONNX by the stock mmdet or mmseg tool, and compare with torch.

python tools/model_converters/export_onnx.py CONFIG CKPT --out-path OUT.onnx \
    [--shape H W] [--dynamic]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd.convert.onnx import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
