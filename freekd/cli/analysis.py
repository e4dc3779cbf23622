"""The command lines of ``tools/analysis/`` that run models."""

import argparse
from typing import Optional, Sequence

from freekd.cli.common import add_device, add_launcher, config_parser, shard


def _analysis(description: str) -> argparse.ArgumentParser:
    parser = config_parser(description)
    form = "[NAME=][CONFIG,]CHECKPOINT"
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help=f"{form}: the first model, to which the others are compared; of a detector also a "
        ".json file of results in COCO's format",
    )
    parser.add_argument("models", nargs="*", metavar="NAME=CHECKPOINT", help=f"{form}: more models")
    parser.add_argument("--out", help="folder; default: work_dirs/analysis/<name of the config>")
    parser.add_argument("--force", action="store_true", help="replace what is in that folder")
    parser.add_argument(
        "--score-thr", type=float, default=0.3, help="of detections that count (default: 0.3)"
    )
    parser.add_argument("--ema", action="store_true", help="the averaged weights of runs with EMA")
    parser.add_argument("--allow-missing", action="store_true", help="take partly filled models")
    add_device(parser)
    return parser


def _check_share(parser: argparse.ArgumentParser, name: str, value: float, least: float) -> None:
    if not least <= value <= 1:
        parser.error(f"--{name}: expected a number from {least:g} to 1, got {value}")


def confusion(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/analysis/confusion.py``."""
    parser = _analysis("Confusion matrices of models on data.test, and their differences.")
    parser.add_argument("--iou-thr", type=float, default=0.5, help="of boxes (default: 0.5)")
    parser.add_argument(
        "--count",
        choices=("every", "once"),
        default="every",
        help="boxes: every overlap, as mmdet's own tool does, or each box and object once",
    )
    args = parser.parse_args(argv)
    _check_share(parser, "iou-thr", args.iou_thr, 0.01)
    _check_share(parser, "score-thr", args.score_thr, 0.0)
    return args


def errors(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/analysis/errors.py``."""
    parser = _analysis(
        "AP by class and size, precision over recall, and the kinds of mistakes of models on "
        "data.test; what the others get wrong and the first model does not."
    )
    args = parser.parse_args(argv)
    _check_share(parser, "score-thr", args.score_thr, 0.0)
    return args


def robustness(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/analysis/robustness.py``."""
    parser = config_parser(
        "Evaluate checkpoints on the 15 corruptions x 5 severities of COCO-C: mPC, rPC, a table "
        "and a picture. An interrupted command goes on where it was.",
        "config file of the checkpoints, with the test data",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="a file, NAME=file, or NAME=CONFIG,file for a model of another config",
    )
    parser.add_argument(
        "--corruptions", nargs="+", help="some of the 15, or noise, blur, weather, digital"
    )
    parser.add_argument("--severities", nargs="+", type=int, help="default: 1 2 3 4 5")
    parser.add_argument(
        "--metric", help="the score of the table; default: bbox_mAP, mIoU, ... of the task"
    )
    parser.add_argument("--eval", nargs="+", help="what the dataset evaluates; as in test.py")
    parser.add_argument(
        "--out", help="folder of the results; default: analysis/ beside the first checkpoint"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes of this machine that share the work"
    )
    parser.add_argument(
        "--shard", help="k/n: compute the k-th of n parts, and no table; for several machines"
    )
    parser.add_argument(
        "--as-mmdet",
        action="store_true",
        help="corrupt the channels in the order in which they are loaded, BGR, as mmdet's own "
        "robustness test does; default: RGB, which the corruptions are made for",
    )
    parser.add_argument(
        "--ema", action="store_true", help="test the averaged weights of runs with EMAHook"
    )
    parser.add_argument("--force", action="store_true", help="overwrite other results in --out")
    add_launcher(parser)
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: expected 1 or more, got {args.jobs}")
    args.shard = shard(parser, args.shard or "1/1")
    if args.jobs > 1 and (args.shard[1] > 1 or args.launcher != "none"):
        parser.error("--jobs: expected 1 together with --shard or --launcher")
    if args.shard[1] > 1 and args.launcher != "none":
        parser.error("--shard: expected none together with --launcher, which shares the images")
    return args
