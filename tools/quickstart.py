"""The whole method on the bundled task; called by tools/quickstart.sh, which installs first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.study.quickstart import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
