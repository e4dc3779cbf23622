"""The whole method on the bundled task: what ``tools/quickstart.sh`` runs.

Teacher, prompts, the same student without and with FreeKD: a study, as ``tools/study.py`` runs one.
Then export, evaluation, pictures. Each step is the command a user would type (``tools/train.py``,
``tools/test.py``, the converter), run in a process of its own; a finished one is not run again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from freekd.fileio import atomic_write_text
from freekd.study import report
from freekd.study.definition import Study, make_study
from freekd.study.ledger import FAILED
from freekd.study.plan import ROOT, Launch
from freekd.study.products import METHODS, Products
from freekd.study.progress import Steps
from freekd.study.rows import BASELINE, study_rows
from freekd.study.runner import Runner


class Plan(NamedTuple):
    """How long to train what."""

    teacher_epochs: int
    prompt_iters: int
    student_epochs: int


FULL = Plan(teacher_epochs=14, prompt_iters=300, student_epochs=8)
FAST = Plan(teacher_epochs=2, prompt_iters=40, student_epochs=2)


# fmt: off
def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/quickstart.sh``."""
    parser = argparse.ArgumentParser(
        prog="tools/quickstart.sh",
        description="Run the whole method on the bundled task. Interrupt and call again: finished "
        "steps are kept, an interrupted one goes on from its last checkpoint.",
    )
    parser.add_argument("--fast", action="store_true", help="short schedules: about 3 minutes")
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S",
        help="seeds of the students (default: 0); with this option all methods are compared",
    )
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS),
        help="students to train (default: baseline freekd; all of them with --seeds)",
    )
    parser.add_argument("--work-dir", default=None, help="default: work_dirs/digits[_fast]")
    parser.add_argument("--data", help="made there if missing (default: data/digits)")
    parser.add_argument(
        "--schedule", type=int, nargs=3, metavar=("TEACHER", "PROMPTS", "STUDENT"),
        help=f"epochs, iterations, epochs (default: {tuple(FULL)}; with --fast {tuple(FAST)})",
    )
    parser.add_argument(
        "--images", type=int, nargs=2, default=(400, 100), metavar=("TRAIN", "VAL"),
        help="size of the data set (default: 400 100)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    return parser.parse_args(argv)
# fmt: on


class Quickstart(Products):
    """A study of teacher, prompts and students over one work folder, and what is made of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.plan = Plan(*args.schedule) if args.schedule else FAST if args.fast else FULL
        self.seeds: List[int] = args.seeds if args.seeds is not None else [0]
        default = list(METHODS) if args.seeds is not None else [BASELINE, "freekd"]
        self.methods: List[str] = [m for m in METHODS if m in (args.methods or default)]
        work = Path(args.work_dir or f"work_dirs/digits{'_fast' if args.fast else ''}")
        self.images = args.images
        plan = self.plan
        student = (12.0 * plan.student_epochs + 10) * len(self.seeds)
        # seconds on two idle cores, for the first guess of the remaining time
        steps = Steps(
            work,
            {
                "teacher": 24.0 * plan.teacher_epochs + 10,
                "prompts": 0.22 * plan.prompt_iters + 10,
                **dict.fromkeys(self.methods, student),
                "export": 15.0 * len(self.methods),
                "pictures": 15.0,
            },
        )
        super().__init__(work, args.data, args.device, self.methods, self.seeds, steps)

    def study(self) -> Study:
        """The runs."""
        plan = self.plan
        stop = {"runner.max_iters": plan.prompt_iters, "evaluation.interval": plan.prompt_iters}
        rows = study_rows(
            self.methods, epochs(plan.teacher_epochs), stop, epochs(plan.student_epochs)
        )
        # said only where it is not what the configs say: commands stay short
        splits = () if self.data == DATA else SPLITS
        data = {
            split: {
                "ann_file": f"{self.data}/annotations/{name}.json",
                "img_prefix": f"{self.data}/{name}/",
            }
            for split, name in splits
        }
        said = {
            "name": "quickstart", "work_dir": str(self.work), "seeds": self.seeds, "rows": rows,
            "baseline": BASELINE if BASELINE in self.methods else self.methods[0], "data": data,
        }  # fmt: skip
        return make_study(said, "quickstart")

    def run(self) -> Dict[str, Any]:
        """All steps; returns the summary.

        Raises:
            RuntimeError: runs failed; says which, and why.
        """
        from freekd.datasets import make_digits

        self.work.mkdir(parents=True, exist_ok=True)
        make_digits(self.data, num_train=self.images[0], num_val=self.images[1])
        plan = self.plan
        self.steps.say(
            f"work folder {self.work}; teacher {plan.teacher_epochs} epochs, prompts "
            f"{plan.prompt_iters} iterations, students {self.methods} x seeds {self.seeds}, "
            f"{plan.student_epochs} epochs each"
        )
        runner = Runner(self.study(), Launch(device=self.device), steps=self.steps)
        if not runner.execute():
            failed = {n: o.error for n, o in runner.outcomes.items() if o.status == FAILED}
            raise RuntimeError("\n".join(failed.values()))  # type: ignore[arg-type]
        done = {name: entry_of(outcome.record) for name, outcome in runner.outcomes.items()}
        exports = {method: self.export(method) for method in self.methods}
        self.pictures(exports)
        summary = {
            "teacher": report.describe(done["teacher"], self.teacher_ckpt),
            "prompted_teacher": report.describe(done["prompts"], self.prompts),
            "students": {
                method: report.student_entry(
                    METHODS[method].label,
                    {str(seed): done[f"{method}, seed {seed}"] for seed in self.seeds},
                    exports[method],
                    self.work / f"seed{self.seeds[0]}" / method / "exported.json",
                )
                for method in self.methods
            },
            "seeds": self.seeds,
            "plan": self.plan._asdict(),
            "versions": report.versions(),
            "machine": report.machine(self.device),
        }
        atomic_write_text(self.work / "summary.json", json.dumps(summary, indent=1) + "\n")
        self.page()
        self.steps.finish()
        return summary


DATA = "data/digits"  # of the configs
SPLITS = (("train", "train"), ("val", "val"), ("test", "val"))


def epochs(count: int) -> Dict[str, Any]:
    """Options that train for ``count`` epochs and evaluate once, at the end."""
    return {"runner.max_epochs": count, "evaluation.interval": count}


def entry_of(record: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """What the summary says of one run."""
    assert record is not None  # it is done
    found = record["metrics"]
    return {
        "mAP": found["bbox_mAP"], "mAP_50": found.get("bbox_mAP_50", 0.0),
        "seconds": record["seconds"],
    }  # fmt: skip


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/quickstart.py``; returns the exit code."""
    args = parse_args(argv)
    if args.work_dir is not None:  # of the caller's folder; the defaults are of the clone's
        args.work_dir = os.path.abspath(args.work_dir)
    args.data = os.path.abspath(args.data) if args.data else DATA
    os.chdir(ROOT)
    quickstart = Quickstart(args)
    for ending in (signal.SIGTERM, signal.SIGHUP):  # like control-C: the child ends, too
        signal.signal(ending, signal.default_int_handler)
    try:
        summary = quickstart.run()
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from here", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as error:
        print(f"\nerror: {error.output}", file=sys.stderr)
        return 1
    except (RuntimeError, ValueError, OSError) as error:
        if os.environ.get("FREEKD_DEBUG"):
            raise
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    print("\n" + report.table(summary))
    page = quickstart.work / "report.html"
    print(f"\nnumbers {quickstart.work}/summary.json, pictures {quickstart.work}/pictures/,")
    if page.is_file():
        print(f"all of it on one page: {page}")
    for entry in summary["students"].values():
        print(f"for stock mmdet: {entry['checkpoint']} ({entry['label']})")
    return 0
