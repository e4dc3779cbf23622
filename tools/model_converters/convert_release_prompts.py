"""Prompts of the authors' release to freekd's prompt file, and back.

python tools/model_converters/convert_release_prompts.py IN --out-path OUT \
    [--to ours|release] [--force]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd.convert.prompts import main_release  # noqa: E402

if __name__ == "__main__":
    sys.exit(main_release())
