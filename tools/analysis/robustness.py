"""mAP or mIoU on corrupted images: the 15 corruptions x 5 severities of COCO-C; mPC and rPC.

python tools/analysis/robustness.py CONFIG CHECKPOINT [NAME=CHECKPOINT NAME=CONFIG,CHECKPOINT ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freekd import cli  # noqa: E402

if __name__ == "__main__":
    args = cli.robustness()  # before anything slow is imported: --help and wrong options end here
    from freekd.config.early import stop_if_wrong

    stop_if_wrong(args)
    from freekd.analysis.robustness.entry import main

    sys.exit(main())
