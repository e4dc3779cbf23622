"""Make the bundled detection data set: ``python tools/make_digits.py --out data/digits``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.datasets import make_digits  # noqa: E402


def _show(done: int, total: int) -> None:
    """A counter that redraws on a terminal and prints its last line only elsewhere."""
    if sys.stdout.isatty() or done == total:
        print(f"\rdrawing digits: {done}/{total}", end="\n" if done == total else "", flush=True)


def main() -> None:
    """Read the command line and make the folder."""
    parser = argparse.ArgumentParser(
        description="Make the bundled digits data set (COCO format, boxes and masks) from the "
        "handwritten digits and photographs inside scikit-learn. No network is used.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", default="data/digits", help="folder to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-train", type=int, default=400, help="training pictures")
    parser.add_argument("--num-val", type=int, default=100, help="validation pictures")
    parser.add_argument("--size", type=int, default=128, help="side of a picture in pixels")
    parser.add_argument(
        "--force", action="store_true", help="replace a digits folder made with other parameters"
    )
    args = parser.parse_args()
    try:
        out = make_digits(
            args.out,
            num_train=args.num_train,
            num_val=args.num_val,
            size=args.size,
            seed=args.seed,
            force=args.force,
            progress=_show,
        )
    except (ValueError, FileExistsError, ModuleNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"digits data set: {out}")


if __name__ == "__main__":
    main()
