"""Make a bundled data set: ``python tools/make_digits.py [--task TASK | --scenes] [--out OUT]``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freekd.datasets import (  # noqa: E402
    make_digit_images,
    make_digit_maps,
    make_digit_masks,
    make_digits,
    make_scenes,
)
from freekd.datasets.scenes import INKS  # noqa: E402

MAKE = dict(
    det=make_digits, seg=make_digit_maps, cls=make_digit_images, sam=make_digit_masks,
    scenes=make_scenes,
)  # fmt: skip
FOLDERS = dict(
    det="digits", seg="digits_seg", cls="digits_cls", sam="digits_sam", scenes="scenes"
)  # fmt: skip


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
        "--task", choices=("det", "seg", "cls", "sam"), default="det",
        help="det: boxes and masks in COCO's format; seg: maps of labels; cls: a folder of "
        "pictures for each class; sam: masks in SA-1B's layout (default: det)",
    )  # fmt: skip
    parser.add_argument(
        "--scenes", action="store_true",
        help="for detection: small digits among letters, with a third split to choose weights by",
    )  # fmt: skip
    parser.add_argument(
        "--letter-ink", choices=INKS, help="of the scenes' letters (default: pale, as digits have)"
    )
    parser.add_argument("--out", help="folder to make (default: data/digits[_TASK], data/scenes)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--num-train", type=int, help="training pictures (default: 400; cls: all)")
    parser.add_argument("--num-val", type=int, help="validation pictures (default: 100; cls: all)")
    parser.add_argument("--size", type=int, help="side of a picture in pixels")
    parser.add_argument(
        "--force", action="store_true", help="replace a digits folder made with other parameters"
    )
    args = parser.parse_args()
    if args.scenes and args.task != "det":
        parser.error(f"--scenes are for detection, got --task {args.task}: leave one of them out")
    if args.letter_ink and not args.scenes:
        parser.error("--letter-ink is of the letters of --scenes: give that too, or leave it out")
    kind = "scenes" if args.scenes else args.task
    try:
        given = dict(
            num_train=args.num_train, num_val=args.num_val, size=args.size,
            letter_ink=args.letter_ink,
        )  # fmt: skip
        out = MAKE[kind](
            args.out or f"data/{FOLDERS[kind]}",
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
