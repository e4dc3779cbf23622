"""The command lines of ``tools/``: nothing is imported here, so that ``--help`` answers at once."""

import argparse
from typing import Any, Dict, Optional, Sequence, Tuple


class CfgOptions(argparse.Action):
    """``key=value`` pairs; their text is read by :func:`cfg_options`, with mmcv's rules.

    The option may come more than once.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Optional[str] = None,
    ) -> None:
        wrong = [value for value in values if "=" not in value]
        if wrong:
            parser.error(f"{option_string}: expected key=value, got {wrong[0]!r}")
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *values])


def cfg_options(args: argparse.Namespace) -> Optional[Dict[str, Any]]:
    """The values of ``--cfg-options``, as mmcv's ``DictAction`` reads them."""
    if args.cfg_options is None:
        return None
    from mmcv import DictAction

    found = argparse.Namespace()
    DictAction(["--cfg-options"], "options")(None, found, args.cfg_options)
    options: Dict[str, Any] = found.options
    return options


# --------------------------------------------------------------------------- what they share
def _parser(description: str, config: str = "config file") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", help=config)
    parser.add_argument(
        "--cfg-options", nargs="+", action=CfgOptions, help="key=value, over the config's"
    )
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")


def _add_launcher(parser: argparse.ArgumentParser) -> None:
    _add_device(parser)
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


# --------------------------------------------------------------------------- one for each tool
def train(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/train.py``."""
    parser = _parser("Train a model, prompts, or a student.")
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
    _add_launcher(parser)
    return parser.parse_args(argv)


def test(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/test.py``."""
    parser = _parser("Evaluate a checkpoint.")
    parser.add_argument("checkpoint", help="checkpoint of that config, or a student-only file")
    parser.add_argument(
        "--eval", nargs="+", help="metrics; default: the config's, else the dataset's"
    )
    parser.add_argument("--out", help="write the raw results to this .pkl file")
    parser.add_argument("--json", help="write the metrics to this .json file")
    parser.add_argument(
        "--ema", action="store_true", help="test the averaged weights of a run with EMAHook"
    )
    parser.add_argument("--allow-missing", action="store_true", help="test a partly filled model")
    _add_launcher(parser)
    return parser.parse_args(argv)


def doctor(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/doctor.py``."""
    parser = _parser(
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
    parser.add_argument("--seed", type=int, help="default: the config's, else 0")
    _add_device(parser)
    args = parser.parse_args(argv)
    if args.batches < 1:
        parser.error(f"--batches: expected 1 or more, got {args.batches}")
    if not args.target > 0:
        parser.error(f"--target: expected a positive number, got {args.target}")
    return args


def print_config(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/print_config.py``."""
    parser = _parser(
        "Print what a config comes to.", "config file, or mmdet::... (mmseg, mmcls) for a stock one"
    )
    parser.add_argument("--key", help="a part only, such as algorithm.distiller.components.0")
    parser.add_argument(
        "--short", action="store_true", help="leave references to models as they are written"
    )
    return parser.parse_args(argv)


def robustness(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/analysis/robustness.py``."""
    parser = _parser(
        "Evaluate checkpoints on the 15 corruptions x 5 severities of COCO-C: mPC, rPC, a table "
        "and a picture. An interrupted command goes on where it was.",
        "config file of the checkpoints, with the test data",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="a file, NAME=file, or NAME=CONFIG:file for a model of another config",
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
    _add_launcher(parser)
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: expected 1 or more, got {args.jobs}")
    args.shard = _shard(parser, args.shard)
    if args.jobs > 1 and (args.shard[1] > 1 or args.launcher != "none"):
        parser.error("--jobs: expected 1 together with --shard or --launcher")
    if args.shard[1] > 1 and args.launcher != "none":
        parser.error("--shard: expected none together with --launcher, which shares the images")
    return args


def _shard(parser: argparse.ArgumentParser, text: Optional[str]) -> Tuple[int, int]:
    """``k/n`` as numbers, 1 <= k <= n."""
    if text is None:
        return 1, 1
    k, _, n = text.partition("/")
    if k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n):
        return int(k), int(n)
    return parser.error(f"--shard: expected k/n with 1 <= k <= n, such as 1/4, got {text!r}")
