"""The whole method on the bundled task: what ``tools/quickstart.sh`` runs.

Teacher, prompts, the same student without and with FreeKD, export, evaluation, pictures. Each step
is the command a user would type (``tools/train.py``, ``tools/test.py``, the converter), run in a
process of its own; a finished step leaves a ``done.json`` and is not run again.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import freekd
from freekd import compat
from freekd.fileio import atomic_save, atomic_write_text, load_checkpoint_file
from freekd.study import report
from freekd.study.progress import Steps, read
from freekd.study.rows import BASELINE, rows

ROOT = Path(__file__).resolve().parents[2]


METHODS = rows()


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


class Quickstart:
    """The steps, in order, over one work folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.plan = Plan(*args.schedule) if args.schedule else FAST if args.fast else FULL
        self.seeds: List[int] = args.seeds if args.seeds is not None else [0]
        default = list(METHODS) if args.seeds is not None else [BASELINE, "freekd"]
        self.methods: List[str] = [m for m in METHODS if m in (args.methods or default)]
        self.work = Path(args.work_dir or f"work_dirs/digits{'_fast' if args.fast else ''}")
        self.data = args.data
        self.images = args.images
        self.device = args.device
        self.teacher_ckpt = self.work / "teacher" / "latest.pth"
        self.prompts = self.work / "prompts" / "prompts.pth"
        plan, students = self.plan, len(self.methods) * len(self.seeds)
        # seconds on two idle cores, for the first guess of the remaining time
        self.steps = Steps(
            self.work,
            {
                "teacher": 24.0 * plan.teacher_epochs + 10,
                "prompts": 0.22 * plan.prompt_iters + 10,
                "students": (12.0 * plan.student_epochs + 10) * students,
                "export": 15.0 * len(self.methods),
                "pictures": 15.0,
            },
        )

    # ------------------------------------------------------------------ steps
    def train(
        self, step: str, group: str, config: str, out: Path, seed: int,
        options: Dict[str, Any], inputs: Sequence[Path] = (), share: float = 1.0,
    ) -> Dict[str, Any]:  # fmt: skip
        """Train one config in a process of its own; returns what it reached."""
        options = {
            **{f"data.{s}.ann_file": f"{self.data}/annotations/{n}.json" for s, n in SPLITS},
            **{f"data.{s}.img_prefix": f"{self.data}/{n}/" for s, n in SPLITS},
            **options,
        }
        command = [sys.executable, str(ROOT / "tools/train.py"), config, "--work-dir", str(out)]
        command += ["--seed", str(seed), "--auto-resume"]
        command += ["--device", self.device] if self.device else []
        command += ["--cfg-options", *(f"{key}={value}" for key, value in options.items())]
        key = self._key(command, config, inputs)
        done = out / "done.json"
        if done.is_file():
            record = json.loads(done.read_text())
            if record["key"] == key:
                self.steps.skip(step, group, share)
                return dict(record)
            kept = out.with_name(f"{out.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            self.steps.say(f"{step}: trained with other settings before; kept as {kept}")
            out.rename(kept)
        elif started(out) not in (None, key):
            out.rename(out.with_name(f"{out.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"))
        out.mkdir(parents=True, exist_ok=True)
        begun = read(out / "started.json") or {"key": key, "seconds": 0.0}
        atomic_write_text(out / "started.json", json.dumps(begun))
        start = time.monotonic()
        try:
            self.steps.run(step, group, command, out, share)
        finally:  # an interrupted run's seconds count, too
            seconds = begun.get("seconds", 0.0) + time.monotonic() - start
            atomic_write_text(out / "started.json", json.dumps({**begun, "seconds": seconds}))
        scores = last_evaluation(out) or self.evaluate(step, config, out, options)
        record = {"key": key, "seconds": round(seconds, 1), **scores}
        atomic_write_text(done, json.dumps(record, indent=1))
        return record

    def evaluate(
        self, step: str, config: str, out: Path, options: Dict[str, Any]
    ) -> Dict[str, float]:  # fmt: skip
        """The scores of a run that left none: stopped after its last checkpoint, or no boxes."""
        scores = out / "evaluation.json"
        command = [
            sys.executable, str(ROOT / "tools/test.py"), config, str(out / "latest.pth"),
            "--eval", "bbox", "--json", str(scores),
            *(["--device", self.device] if self.device else []),
            "--cfg-options",
            *(f"{key}={value}" for key, value in options.items() if key.startswith("data.test")),
        ]  # fmt: skip
        self.steps.run(f"{step}, evaluation", "export", command, out, 0.0)
        found = json.loads(scores.read_text())["metrics"]
        return {"mAP": found["bbox_mAP"], "mAP_50": found.get("bbox_mAP_50", 0.0)}

    def _key(self, command: Sequence[str], config: str, inputs: Sequence[Path]) -> str:
        """Changes with the command, the config and what it inherits, and the input files."""
        with compat.quiet_imports():
            from mmcv import Config

        text = "\0".join([*command[2:], freekd.__version__, Config.fromfile(config).pretty_text])
        digest = hashlib.sha256(text.encode())
        models = sorted((ROOT / "configs/_base_/models").glob("*.py"))  # named by path in configs
        for path in [*models, Path(self.data) / "dataset.json", *inputs]:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def run(self) -> Dict[str, Any]:
        """All steps; returns the summary."""
        from freekd.datasets import make_digits

        self.work.mkdir(parents=True, exist_ok=True)
        make_digits(self.data, num_train=self.images[0], num_val=self.images[1])
        plan = self.plan
        self.steps.say(
            f"work folder {self.work}; teacher {plan.teacher_epochs} epochs, prompts "
            f"{plan.prompt_iters} iterations, students {self.methods} x seeds {self.seeds}, "
            f"{plan.student_epochs} epochs each"
        )
        teacher = self.train(
            "teacher", "teacher", "configs/teacher/retinanet_r34_digits.py",
            self.work / "teacher", 0, epochs(plan.teacher_epochs),
        )  # fmt: skip
        prompts = self.train(
            "prompts", "prompts", "configs/prompt/retinanet_r34_digits.py",
            self.work / "prompts", 0,
            {
                "prompt.teacher_checkpoint": str(self.teacher_ckpt),
                "runner.max_iters": plan.prompt_iters,
                "evaluation.interval": plan.prompt_iters,
            },
            [self.teacher_ckpt],
        )  # fmt: skip
        students: Dict[str, Dict[str, Any]] = {method: {} for method in self.methods}
        share = 1.0 / (len(self.seeds) * len(self.methods))
        for seed in self.seeds:
            for method in self.methods:
                students[method][str(seed)] = self.student(method, seed, share)
        exports = {method: self.export(method) for method in self.methods}
        self.pictures(exports)
        summary = {
            "teacher": report.describe(teacher, self.teacher_ckpt),
            "prompted_teacher": report.describe(prompts, self.prompts),
            "students": {
                method: report.student_entry(
                    METHODS[method].label,
                    students[method],
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
        self.steps.finish()
        return summary

    def student(self, method: str, seed: int, share: float) -> Dict[str, Any]:
        """Train one student; all of a seed see the same images in the same order."""
        config = METHODS[method].config
        options = epochs(self.plan.student_epochs)
        inputs: List[Path] = []
        if method != BASELINE:
            options["pair.teacher_checkpoint"] = str(self.teacher_ckpt)
            inputs.append(self.teacher_ckpt)
        for label in prompted(config):
            options[f"pair.losses.{label}.prompts"] = str(self.prompts)
            inputs.append(self.prompts)
        out = self.work / f"seed{seed}" / method
        return self.train(
            f"{method}, seed {seed}", "students", config, out, seed, options, inputs, share
        )

    def once(
        self, step: str, group: str, folder: Path, commands: Sequence[Sequence[str]],
        inputs: Sequence[Path], outputs: Sequence[Path], share: float,
    ) -> None:  # fmt: skip
        """Run commands unless they ran on the same inputs before and their outputs are there."""
        digest = hashlib.sha256("\0".join(part for c in commands for part in c[1:]).encode())
        for path in inputs:
            digest.update(path.read_bytes())
        marker = folder / f"{step.split()[0]}.json"
        record = {"key": digest.hexdigest()[:16]}
        if read(marker) == record and all(path.exists() for path in outputs):
            self.steps.skip(step, group, share)
            return
        for command in commands:
            self.steps.run(step, group, command, folder, share / len(commands))
        atomic_write_text(marker, json.dumps(record))

    def export(self, method: str) -> Path:
        """The student-only checkpoint of the first seed, tested in stock mmdet's config."""
        folder = self.work / f"seed{self.seeds[0]}" / method
        out, scores = self.work / f"student_{method}.pth", folder / "exported.json"
        share = 1.0 / len(self.methods)
        source = (folder / "latest.pth").resolve()
        if method == BASELINE:  # a stock checkpoint already: weights and class names suffice
            content = load_checkpoint_file(source)
            meta = {"CLASSES": content["meta"]["CLASSES"]}
            atomic_save({"meta": meta, "state_dict": content["state_dict"]}, out)
            self.steps.skip(f"export {method}", "export", share, "a stock checkpoint already")
            return out
        convert = [
            sys.executable, str(ROOT / "tools/model_converters/convert_kd_ckpt_to_student.py"),
            str(source), "--out-path", str(out), "--force",
        ]  # fmt: skip
        test = [
            sys.executable, str(ROOT / "tools/test.py"), METHODS[BASELINE].config, str(out),
            "--eval", "bbox", "--json", str(scores),
            *(["--device", self.device] if self.device else []),
            "--cfg-options", f"data.test.ann_file={self.data}/annotations/val.json",
            f"data.test.img_prefix={self.data}/val/",
        ]  # fmt: skip
        self.once(
            f"export {method}", "export", folder, [convert, test], [source], [out, scores], share
        )
        return out

    def pictures(self, exports: Dict[str, Path]) -> None:
        """Detections, masks and feature maps, as PNG files."""
        folder = self.work / "pictures"
        command = [
            sys.executable, str(ROOT / "tools/quickstart_pictures.py"),
            "--teacher", str(self.teacher_ckpt), "--prompts", str(self.prompts),
            "--data", self.data, "--out", str(folder), "--students",
            *(f"{method}={path}" for method, path in exports.items()),
        ]  # fmt: skip
        seed = self.work / f"seed{self.seeds[0]}"
        students = [seed / method / "latest.pth" for method in exports]
        inputs = [self.teacher_ckpt, self.prompts, *students]
        self.once(
            "pictures", "pictures", folder, [command], inputs, [folder / "detections.png"], 1.0
        )


def started(folder: Path) -> Optional[str]:
    """The key of the run that was begun in ``folder``, or None."""
    record = read(folder / "started.json")
    return record["key"] if record else None


def prompted(config: str) -> List[str]:
    """The entries of ``pair.losses`` in a config that read a prompt file."""
    with compat.quiet_imports():
        from mmcv import Config

    losses = (Config.fromfile(config).get("pair") or {}).get("losses") or {}
    return [name for name, options in losses.items() if (options or {}).get("prompts")]


SPLITS = (("train", "train"), ("val", "val"), ("test", "val"))


def epochs(count: int) -> Dict[str, Any]:
    """Options that train for ``count`` epochs and evaluate once, at the end."""
    return {"runner.max_epochs": count, "evaluation.interval": count}


def last_evaluation(folder: Path) -> Optional[Dict[str, float]]:
    """COCO mAP of the last evaluation in a run's json logs, or None."""
    for log in sorted(folder.glob("*.log.json"), reverse=True):
        for line in reversed(log.read_text().splitlines()):
            record = json.loads(line)
            if "bbox_mAP" in record:
                return {"mAP": record["bbox_mAP"], "mAP_50": record["bbox_mAP_50"]}
    return None


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/quickstart.py``; returns the exit code."""
    args = parse_args(argv)
    if args.work_dir is not None:  # of the caller's folder; the defaults are of the clone's
        args.work_dir = os.path.abspath(args.work_dir)
    args.data = os.path.abspath(args.data) if args.data else "data/digits"
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
    print(f"\nnumbers {quickstart.work}/summary.json, pictures {quickstart.work}/pictures/,")
    for entry in summary["students"].values():
        print(f"for stock mmdet: {entry['checkpoint']} ({entry['label']})")
    return 0
