"""Strip a checkpoint to what its users need, and name it by its hash: OUT-<8 hex>.pth.

python tools/model_converters/publish_model.py IN OUT
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd.convert.publish import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
