"""Write the lists of images of a folder in SA-1B's layout: train.txt, and val.txt, held out.

python tools/list_sa1b.py ROOT [--out FOLDER] [--share 0.01] [--most 500]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.datasets.sam_lists import MOST, SHARE, write_lists  # noqa: E402


def main() -> int:
    """Read the command line and write the lists; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", help="folder with images (.jpg) and a .json beside each")
    parser.add_argument("--out", help="folder of the lists (default: the images' own)")
    parser.add_argument(
        "--share", type=float, default=SHARE,
        help=f"of the images that is held out, by a hash of the name (default: {SHARE})",
    )  # fmt: skip
    parser.add_argument(
        "--most", type=int, default=MOST, help=f"images in val.txt, at most (default: {MOST})"
    )
    args = parser.parse_args()
    try:
        counts = write_lists(args.root, args.out or args.root, args.share, args.most)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{args.out or args.root}: " + ", ".join(f"{s}.txt {n}" for s, n in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
