"""Make a bundled data set: ``python tools/make_digits.py [--task seg] [--out data/digits]``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.datasets import make_digit_images, make_digit_maps, make_digits  # noqa: E402

MAKE = dict(det=make_digits, seg=make_digit_maps, cls=make_digit_images)
FOLDERS = dict(det="data/digits", seg="data/digits_seg", cls="data/digits_cls")


def _show(done: int, total: int) -> None:
    """A counter that redraws on a terminal and prints its last line only elsewhere."""
    if sys.stdout.isatty() or done == total:
        print(f"\rdrawing digits: {done}/{total}", end="\n" if done == total else "", flush=True)


def main() -> None:
    """Read the command line and make the folder."""
    parser = argparse.ArgumentParser(
        description="Make a bundled digits data set from the handwritten digits and photographs "
        "inside scikit-learn. No network is used.",
    )
    parser.add_argument(
        "--task", choices=list(MAKE), default="det",
        help="det: boxes and masks in COCO's format; seg: maps of labels; cls: a folder of "
        "pictures for each class (default: det)",
    )  # fmt: skip
    parser.add_argument("--out", help="folder to make (default: data/digits[_TASK])")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--num-train", type=int, help="training pictures (default: 400; cls: all)")
    parser.add_argument("--num-val", type=int, help="validation pictures (default: 100; cls: all)")
    parser.add_argument("--size", type=int, help="side of a picture in pixels")
    parser.add_argument(
        "--force", action="store_true", help="replace a digits folder made with other parameters"
    )
    args = parser.parse_args()
    try:
        given = dict(num_train=args.num_train, num_val=args.num_val, size=args.size)
        out = MAKE[args.task](
            args.out or FOLDERS[args.task],
            seed=args.seed,
            force=args.force,
            progress=_show,
            **{name: value for name, value in given.items() if value is not None},
        )
    except (ValueError, FileExistsError, ModuleNotFoundError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"digits data set: {out}")


if __name__ == "__main__":
    main()
