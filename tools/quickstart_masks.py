"""The pictures of the quickstart of Segment Anything: masks of all models side by side."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.study.sam_pictures import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
