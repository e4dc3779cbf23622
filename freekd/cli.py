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


def report(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/report.py``."""
    parser = argparse.ArgumentParser(
        description="Write one page with the results, learning curves, pictures and analyses of "
        "finished or running trainings. It needs no network and opens from disk."
    )
    parser.add_argument(
        "work_dirs",
        nargs="+",
        metavar="WORK_DIR",
        help="folder of a training run, of a study or quickstart, or one above several runs",
    )
    parser.add_argument(
        "--out", help="default: report.html, in WORK_DIR if there is one, else in this folder"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace a file that is not a report of the same folders",
    )
    return parser.parse_args(argv)


def logs(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/analysis/logs.py``."""
    parser = argparse.ArgumentParser(
        description="Compare what runs logged: last and best values, time per step, curves."
    )
    parser.add_argument("runs", nargs="+", help="work folders, or files <time>.log.json")
    parser.add_argument(
        "--keys",
        nargs="+",
        help="what to show, patterns such as 'ratio.*' too; default: the loss, each ratio and the "
        "first score",
    )
    parser.add_argument("--plot", help="draw the curves into this file (.png, .svg, .pdf)")
    parser.add_argument("--csv", help="write run,key,step,value to this file")
    parser.add_argument(
        "--any-data", action="store_true", help="runs of different data sets beside each other, too"
    )
    parser.add_argument("--force", action="store_true", help="write over files that exist")
    return parser.parse_args(argv)


def study(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/study.py``."""
    parser = argparse.ArgumentParser(
        description="Run a study, rows x seeds, and compare its rows. Interrupt and call again: "
        "finished runs are kept, an interrupted one goes on from its last checkpoint."
    )
    parser.add_argument("study", help="study file, see docs/study.md")
    parser.add_argument("--work-dir", help="default: the study's, else work_dirs/<its name>")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of the study's")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.add_argument(
        "--collect", action="store_true", help="run nothing: study.json and the table, as it is now"
    )
    parser.add_argument(
        "--shard", metavar="K/N", help="only the runs of machine K of N, from 1: the same on all"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="HOURS",
        help="with --shard: how long to wait for runs of others that ours need (default: 0)",
    )  # fmt: skip
    parser.add_argument("--gpus", type=int, help="processes of each run, by tools/dist_train.sh")
    parser.add_argument(
        "--launcher", choices=("none", "slurm"), default="none", help="slurm: tools/slurm_train.sh"
    )
    parser.add_argument("--partition", help="of slurm")
    parser.add_argument(
        "--force", action="store_true", help="replace the study.json of another study"
    )
    _add_device(parser)
    args = parser.parse_args(argv)
    for name in ("jobs", "gpus"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: expected 1 or more, got {value}")
    if args.wait < 0:
        parser.error(f"--wait: expected hours, 0 or more, got {args.wait}")
    if (args.launcher == "slurm") != (args.partition is not None):
        parser.error("--launcher slurm and --partition: expected both or neither, got one")
    args.shard = _shard(parser, args.shard or "1/1")
    return args


def _shard(parser: argparse.ArgumentParser, text: str) -> Tuple[int, int]:
    parts = text.split("/")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        number, count = int(parts[0]), int(parts[1])
        if 1 <= number <= count:
            return number, count
    parser.error(f"--shard: expected K/N with K from 1 to N, as 2/3, got {text!r}")


def _analysis(description: str) -> argparse.ArgumentParser:
    parser = _parser(description)
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
    _add_device(parser)
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
    parser = _parser(
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
    _add_launcher(parser)
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: expected 1 or more, got {args.jobs}")
    args.shard = _shard(parser, args.shard or "1/1")
    if args.jobs > 1 and (args.shard[1] > 1 or args.launcher != "none"):
        parser.error("--jobs: expected 1 together with --shard or --launcher")
    if args.shard[1] > 1 and args.launcher != "none":
        parser.error("--shard: expected none together with --launcher, which shares the images")
    return args
