"""The command lines of a study, of the report and of the logs."""

import argparse
from typing import Optional, Sequence

from freekd.cli.common import add_device, shard


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
    add_device(parser)
    args = parser.parse_args(argv)
    for name in ("jobs", "gpus"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: expected 1 or more, got {value}")
    if args.wait < 0:
        parser.error(f"--wait: expected hours, 0 or more, got {args.wait}")
    if (args.launcher == "slurm") != (args.partition is not None):
        parser.error("--launcher slurm and --partition: expected both or neither, got one")
    args.shard = shard(parser, args.shard or "1/1")
    return args


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
