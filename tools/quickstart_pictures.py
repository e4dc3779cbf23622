"""The pictures of the quickstart: detections, masks per band, feature maps; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.study.pictures import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
