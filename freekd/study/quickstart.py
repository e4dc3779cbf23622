"""A whole study on a bundled task: what ``tools/quickstart.sh`` runs.

Teacher, prompts, the same student alone and with each method: a study, as ``tools/study.py`` runs
one. Then export, evaluation and, for some tasks, pictures. Each step is the command a user would
type (``tools/train.py``, ``tools/test.py``, the converter), run in a process of its own; a finished
one is not run again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from freekd import tasks
from freekd.fileio import atomic_write_text
from freekd.study import report
from freekd.study.bundled import SPLITS, TASKS, Plan
from freekd.study.definition import Study, make_study
from freekd.study.ledger import FAILED
from freekd.study.plan import ROOT, Launch
from freekd.study.products import Products
from freekd.study.progress import Steps
from freekd.study.rows import BASELINE, first_stage, rows, study_rows
from freekd.study.runner import Runner


# fmt: off
def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """The command line of ``tools/quickstart.sh``."""
    parser = argparse.ArgumentParser(
        prog="tools/quickstart.sh",
        description="Run the methods on a bundled task. Interrupt and call again: finished "
        "steps are kept, an interrupted one goes on from its last checkpoint.",
    )
    parser.add_argument(
        "--task", choices=list(TASKS), default="det",
        help="det: detection, seg: segmentation, cls: classification, sam: Segment Anything "
        "(default: det)",
    )
    parser.add_argument("--fast", action="store_true", help="short schedules: about 3 minutes")
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S",
        help="seeds of the students (default: 0); with this option all methods are compared",
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME",
        help="students to train (default: of det baseline and freekd, else, and with --seeds, all)",
    )
    parser.add_argument("--work-dir", default=None, help="default: work_dirs/digits[_TASK][_fast]")
    parser.add_argument("--data", help="made there if missing (default: data/digits[_TASK])")
    parser.add_argument(
        "--schedule", type=int, nargs=3, metavar=("TEACHER", "PROMPTS", "STUDENT"),
        help="epochs, iterations, epochs; a task without prompts takes no notice of the second",
    )
    parser.add_argument(
        "--images", type=int, nargs=2, metavar=("TRAIN", "VAL"),
        help="size of the data set (default: det 400 100, seg 800 200, cls 2876 718, sam 400 100)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings side by side (default: 1)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: expected 1 or more, got {args.jobs}")
    known = list(rows(args.task))
    for name in args.methods or ():
        if name not in known:
            parser.error(f"--methods: expected, of the task {args.task}, {known}, got {name!r}")
    return args
# fmt: on


class Quickstart(Products):
    """A study of teacher, prompts and students over one work folder, and what is made of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        task = TASKS[args.task]
        short = task.fast if args.fast else task.full
        plan = self.plan = Plan(*args.schedule) if args.schedule else short
        seeds: List[int] = args.seeds if args.seeds is not None else [0]
        known = list(rows(task.name))
        default = known if args.seeds is not None else task.methods or known
        methods = [name for name in known if name in (args.methods or default)]
        folder = task.data.replace("data/", "work_dirs/")
        work = Path(args.work_dir or f"{folder}{'_fast' if args.fast else ''}")
        self.images = args.images or task.images
        teacher, prompts, student = task.seconds
        one = (student * plan.student_epochs + 10) * len(seeds)
        guesses = {
            "teacher": teacher * plan.teacher_epochs + 10,
            **({} if task.prompt is None else {"prompts": prompts * plan.prompt_iters + 10}),
            **({} if task.judge is None else {"reference": 15.0}),
            **dict.fromkeys(map(first_stage, methods), one),
            **dict.fromkeys(methods, one),
            "export": 15.0 * len(methods),
            "pictures": 15.0,
        }
        self.jobs = args.jobs
        steps = Steps(work, guesses, self.jobs)
        super().__init__(work, args.data, args.device, methods, seeds, steps, task)

    def study(self) -> Study:
        """The runs."""
        plan = self.plan
        stop = {"runner.max_iters": plan.prompt_iters, "evaluation.interval": plan.prompt_iters}
        found = study_rows(
            self.methods,
            epochs(plan.teacher_epochs),
            stop,
            epochs(plan.student_epochs),
            task=self.task.name,
            alone=epochs(plan.student_epochs * self.task.stages),
            judged=self.judged,
        )
        # said only where it is not what the configs say: commands stay short
        splits = () if self.data == self.task.data else SPLITS
        data = {split: self.task.files(self.data, name) for split, name in splits}
        said = {
            "name": "quickstart", "work_dir": str(self.work), "seeds": self.seeds, "rows": found,
            "baseline": BASELINE if BASELINE in self.methods else self.methods[0], "data": data,
            "metric": None if self.task.judge is None else self.task.scores[self.task.score],
        }  # fmt: skip
        return make_study(said, "quickstart")

    def run(self) -> Dict[str, Any]:
        """All steps; returns the summary.

        Raises:
            RuntimeError: runs failed; says which, and why.
        """
        task, plan = self.task, self.plan
        self.work.mkdir(parents=True, exist_ok=True)
        task.make(self.data, num_train=self.images[0], num_val=self.images[1])
        prompts = "" if task.prompt is None else f", prompts {plan.prompt_iters} iterations"
        self.steps.say(
            f"work folder {self.work}; teacher {plan.teacher_epochs} epochs{prompts}, students "
            f"{self.methods} x seeds {self.seeds}, {plan.student_epochs} epochs each"
        )
        if task.judge is not None:
            self._execute(["teacher"])
            self.reference()
        runner = self._execute()
        done = {name: task.entry_of(outcome.record) for name, outcome in runner.outcomes.items()}
        for method in self.methods:
            for seed in self.seeds:
                first = done.get(f"{first_stage(method)}, seed {seed}")
                if first is not None:
                    done[f"{method}, seed {seed}"]["seconds"] += first["seconds"]
        exports = {method: self.export(method) for method in self.methods}
        self.pictures(exports)
        summary: Dict[str, Any] = {"teacher": report.describe(done["teacher"], self.teacher_ckpt)}
        if task.prompt is not None:
            summary["prompted_teacher"] = report.describe(done["prompts"], self.prompts)
        labels = {name: row.label for name, row in rows(task.name).items()}
        summary.update({
            "students": {
                method: report.student_entry(
                    labels[method],
                    {str(seed): done[f"{method}, seed {seed}"] for seed in self.seeds},
                    exports[method],
                    self.work / f"seed{self.seeds[0]}" / method / "exported.json",
                    task.score,
                    task.scores[task.score],
                )
                for method in self.methods
            },
            "seeds": self.seeds,
            "plan": self.plan._asdict(),
            "versions": report.versions(),
            "machine": report.machine(self.device),
            "task": task.name,
            "score": {
                "name": task.score, "metric": task.scores[task.score], "heading": task.heading,
                "decimals": task.decimals,
            },
        })  # fmt: skip
        atomic_write_text(self.work / "summary.json", json.dumps(summary, indent=1) + "\n")
        self.page()
        self.steps.finish()
        return summary

    def _execute(self, only: Optional[List[str]] = None) -> Runner:
        """Run what is not finished, of some runs or of all.

        Raises:
            RuntimeError: runs failed.
        """
        launch = Launch(device=self.device)
        runner = Runner(self.study(), launch, self.jobs, steps=self.steps, only=only)
        if not runner.execute():
            failed = {n: o.error for n, o in runner.outcomes.items() if o.status == FAILED}
            raise RuntimeError("\n".join(failed.values()))  # type: ignore[arg-type]
        return runner


def epochs(count: int) -> Dict[str, Any]:
    """Options that train for ``count`` epochs and evaluate once, at the end."""
    return {"runner.max_epochs": count, "evaluation.interval": count}


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/quickstart.py``; returns the exit code."""
    args = parse_args(argv)
    if args.work_dir is not None:  # of the caller's folder; the defaults are of the clone's
        args.work_dir = os.path.abspath(args.work_dir)
    args.data = os.path.abspath(args.data) if args.data else TASKS[args.task].data
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
    drawn = f", pictures {quickstart.work}/pictures/" if quickstart.task.pictures else ""
    print(f"\nnumbers {quickstart.work}/summary.json{drawn},")
    if page.is_file():
        print(f"all of it on one page: {page}")
    host = TASKS[args.task].reader or tasks.get(TASKS[args.task].task).package
    for entry in summary["students"].values():
        print(f"for stock {host}: {entry['checkpoint']} ({entry['label']})")
    return 0
