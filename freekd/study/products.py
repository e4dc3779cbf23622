"""What the quickstart makes of its finished runs: exported students, pictures, a report."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from freekd.fileio import atomic_save, atomic_write_text, load_checkpoint_file
from freekd.study.bundled import TASKS, BundledTask
from freekd.study.plan import ROOT
from freekd.study.progress import Steps, read
from freekd.study.rows import BASELINE


class Products:
    """Made once, and again when what they are made of has changed.

    Args:
        work: the work folder, with the runs.
        data: the data set's folder.
        device: ``cpu``, ``cuda`` or None.
        methods, seeds: which students there are; files are of the first seed.
        steps: shows the progress; has the groups ``export`` and ``pictures``.
        task: whose students they are.
    """

    def __init__(
        self, work: Path, data: str, device: Optional[str], methods: List[str], seeds: List[int],
        steps: Steps, task: BundledTask = TASKS["det"],
    ) -> None:  # fmt: skip
        self.task = task
        self.work, self.data, self.device = work, data, device
        self.methods, self.seeds, self.steps = methods, seeds, steps
        self.teacher_ckpt = work / "teacher" / "latest.pth"
        self.prompts = work / "prompts" / "prompts.pth"

    @property
    def judged(self) -> Dict[str, str]:
        """The options that name the teacher's results, of a task whose students have a judge."""
        keys = () if self.task.judge is None else self.task.judge.keys
        return {key: str(self.work / "reference.json") for key in keys}

    def reference(self) -> None:
        """The teacher's results, made by the judge's tool from its last checkpoint."""
        if self.task.judge is None:
            return
        out, folder = self.work / "reference.json", self.work / "teacher"
        command = [
            sys.executable, str(ROOT / self.task.judge.tool), self.task.teacher,
            "--checkpoint", str(self.teacher_ckpt), "--out", str(out),
            *(["--device", self.device] if self.device else []), "--cfg-options",
            *(f"data.test.{k}={v}" for k, v in self.task.files(self.data, "val").items()),
        ]  # fmt: skip
        source = self.teacher_ckpt.resolve()
        self.once("reference", "reference", folder, [command], [source], [out], 1.0)

    def page(self) -> None:
        """The report, where its tool is there; that it fails is said, and no reason to fail."""
        if not (ROOT / "tools" / "report.py").is_file():
            return
        command = [sys.executable, str(ROOT / "tools" / "report.py"), str(self.work)]
        try:
            self.steps.run("report", "pictures", command, self.work / "pictures", 0.0)
        except subprocess.CalledProcessError as error:
            self.steps.say(f"no report: {error.output}")

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
        """The student-only checkpoint of the first seed, tested in the stock model's config."""
        folder = self.work / f"seed{self.seeds[0]}" / method
        out, scores = self.work / f"student_{method}.pth", folder / "exported.json"
        share = 1.0 / len(self.methods)
        source = (folder / "latest.pth").resolve()
        bare = ["--bare"] if self.task.bare else []
        if (
            method == BASELINE and not bare
        ):  # a stock checkpoint already: weights and class names suffice
            content = load_checkpoint_file(source)
            meta = {"CLASSES": content["meta"]["CLASSES"]}
            atomic_save({"meta": meta, "state_dict": content["state_dict"]}, out)
            self.steps.skip(f"export {method}", "export", share, "a stock checkpoint already")
            return out
        convert = [
            sys.executable, str(ROOT / "tools/model_converters/convert_kd_ckpt_to_student.py"),
            str(source), "--out-path", str(out), "--force", *bare,
        ]  # fmt: skip
        test = [
            sys.executable, str(ROOT / "tools/test.py"), self.task.baseline, str(out),
            "--eval", self.task.metric, "--json", str(scores),
            *(["--device", self.device] if self.device else []), "--cfg-options",
            *(f"data.test.{k}={v}" for k, v in self.task.files(self.data, "val").items()),
            *(f"{k}={v}" for k, v in self.judged.items() if k.startswith("data.test.")),
        ]  # fmt: skip
        self.once(
            f"export {method}", "export", folder, [convert, test], [source], [out, scores], share
        )
        return out

    def pictures(self, exports: Dict[str, Path]) -> None:
        """Detections, masks and feature maps, as PNG files, of a task that has them."""
        if self.task.pictures is None:
            return
        folder = self.work / "pictures"
        command = [
            sys.executable, str(ROOT / self.task.pictures.tool),
            "--teacher", str(self.teacher_ckpt), "--prompts", str(self.prompts),
            "--data", self.data, "--out", str(folder), "--students",
            *(f"{method}={path}" for method, path in exports.items()),
        ]  # fmt: skip
        seed = self.work / f"seed{self.seeds[0]}"
        students = [seed / method / "latest.pth" for method in exports]
        inputs = [self.teacher_ckpt, self.prompts, *students]
        outputs = [folder / self.task.pictures.first]
        self.once("pictures", "pictures", folder, [command], inputs, outputs, 1.0)
