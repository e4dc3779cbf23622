"""Write the masks of a SAM teacher, to which a student's are compared.

python tools/sam_reference.py CONFIG --checkpoint TEACHER.pth --out FILE [--cfg-options k=v ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.engine.sam_reference import parse_args  # noqa: E402

if __name__ == "__main__":
    args = parse_args()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.engine.sam_reference import main

    sys.exit(main())
