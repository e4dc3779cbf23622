"""The command lines of training, testing, doctor and print_config."""

import argparse
from typing import Optional, Sequence

from freekd.cli.common import add_device, add_launcher, config_parser


def train(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/train.py``."""
    parser = config_parser("Train a model, prompts, or a student.")
    parser.add_argument("--work-dir", help="default: work_dirs/<config without configs/ and .py>")
    parser.add_argument("--resume-from", help="checkpoint to continue from")
    parser.add_argument(
        "--auto-resume",
        action="store_true",
        help="continue from the newest complete checkpoint of the work dir, if there is one",
    )
    parser.add_argument(
        "--student-only",
        action="store_true",
        help="train the student of a distillation config alone: the baseline to beat, with the "
        "same data, schedule and, for one seed, first weights",
    )
    parser.add_argument("--seed", type=int, help="default: the config's, else random")
    parser.add_argument("--deterministic", action="store_true", help="deterministic cuDNN")
    parser.add_argument("--no-validate", action="store_true", help="no evaluation during training")
    add_launcher(parser)
    return parser.parse_args(argv)


def test(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/test.py``."""
    parser = config_parser("Evaluate a checkpoint.")
    parser.add_argument("checkpoint", help="checkpoint of that config, or a student-only file")
    parser.add_argument(
        "--eval", nargs="+", help="metrics; default: the config's, else the dataset's"
    )
    parser.add_argument("--out", help="write the raw results to this .pkl file")
    parser.add_argument("--json", help="write the metrics to this .json file")
    parser.add_argument(
        "--split", choices=("test", "val"), default="test", help="data.test (default) or data.val"
    )
    parser.add_argument(
        "--ema", action="store_true", help="test the averaged weights of a run with EMAHook"
    )
    parser.add_argument("--allow-missing", action="store_true", help="test a partly filled model")
    add_launcher(parser)
    return parser.parse_args(argv)


def doctor(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/doctor.py``."""
    parser = config_parser(
        "Check a config before training it: shapes, weights, data, the sizes of the losses, time "
        "and memory. Exit code 1 if something is wrong.",
        "config file, of stage 1, stage 2 or a plain model",
    )
    parser.add_argument("--batches", type=int, default=1, help="how many to look at (default: 1)")
    parser.add_argument(
        "--target",
        type=float,
        default=1.0,
        help="suggest weights that make each term this many times the task loss (default: 1)",
    )
    parser.add_argument("--json", help="write the report to this .json file too")
    parser.add_argument(
        "--draw", metavar="FILE.png", help="draw where losses look, on images of the first batch"
    )
    parser.add_argument("--seed", type=int, help="default: the config's, else 0")
    add_device(parser)
    args = parser.parse_args(argv)
    if args.draw is not None and not args.draw.endswith(".png"):
        parser.error(f"--draw: expected a name that ends in .png, got {args.draw}")
    if args.batches < 1:
        parser.error(f"--batches: expected 1 or more, got {args.batches}")
    if not args.target > 0:
        parser.error(f"--target: expected a positive number, got {args.target}")
    return args


def print_config(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/print_config.py``."""
    parser = config_parser(
        "Print what a config comes to.", "config file, or mmdet::... (mmseg, mmcls) for a stock one"
    )
    parser.add_argument("--key", help="a part only, such as algorithm.distiller.components.0")
    parser.add_argument(
        "--short", action="store_true", help="leave references to models as they are written"
    )
    return parser.parse_args(argv)
