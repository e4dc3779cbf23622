"""``--auto-resume`` after kill -9 at any moment ends with the weights of an uninterrupted run."""

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.fileio import load_checkpoint_file
from freekd.prompts.file import load_prompts

REPO = Path(__file__).resolve().parents[2]
# Batch statistics, augmentations, a schedule, an optimizer with state, old checkpoints that go.
EXTRA = """
optimizer = dict(type="AdamW", lr=1e-3)
lr_config = dict(policy="CosineAnnealing", min_lr=0, by_epoch=False)
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook")])
data["train"]["pipeline"][2] = dict(type="Resize", img_scale=[(64, 64), (72, 72)],
                                    multiscale_mode="range", keep_ratio=True)
"""
COUNTS = {
    1: "runner = dict(type='IterBasedRunner', max_iters=6)\n"
    "checkpoint_config = dict(interval=2, max_keep_ckpts=2)\n",
    2: "runner = dict(type='EpochBasedRunner', max_epochs=3)\n"
    "checkpoint_config = dict(interval=1, max_keep_ckpts=2)\n",
}
FIRST = {1: "iter_2.pth", 2: "epoch_1.pth"}
LAST = {1: "iter_6.pth", 2: "epoch_3.pth"}
SECOND = {1: "iter_4.pth", 2: "epoch_2.pth"}


@pytest.fixture(scope="module")
def killing():
    """The process of ``killing.py``: give it an order, get its answer."""
    environment = {
        **os.environ, "PYTHONPATH": f"{REPO}{os.pathsep}{Path(__file__).parents[1]}",
        "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "",  # a forked process cannot use what its parent looked at
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "killing.py")], cwd=str(REPO),
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, universal_newlines=True,
    ) as process:  # fmt: skip

        def ask(order):
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


class Trainings:
    """Runs of one config in folders below ``root``; ``whole`` is the uninterrupted one."""

    def __init__(self, killing, number, config, root):
        self.killing, self.number, self.root = killing, number, root
        self.common = [config, "--seed", "3", "--device", "cpu", "--no-validate"]
        self.second, self.last = SECOND[number], LAST[number]
        self.seen = self.run("whole")["seen"]  # the operations in its work dir

    def run(self, name, **moment):
        """Train (on) in the folder ``name``, to the end or to that moment."""
        folder = self.root / name
        args = [*self.common, "--work-dir", str(folder), "--auto-resume"]
        answer = self.killing(dict(folder=str(folder) + os.sep, args=args, **moment))
        assert answer.get("code", 0) == 0, answer["said"]
        return answer


@pytest.fixture(scope="module", params=[1, 2], ids=["stage1", "stage2"])
def trainings(request, stage, killing, tmp_path_factory):
    number = request.param
    config = stage(number, "killed", EXTRA + COUNTS[number], norm="BN")
    return Trainings(killing, number, config, tmp_path_factory.mktemp(f"killed_{number}"))


def assert_nothing_half_written(folder):
    """Every file under its final name can be read."""
    for path in folder.glob("*.pth"):
        load_prompts(str(path)) if path.name == "prompts.pth" else load_checkpoint_file(path)
    for path in folder.glob("progress.json"):
        assert json.loads(path.read_text())["iter"] >= 0
    for path in folder.glob("*.py"):
        ast.parse(path.read_text())


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        if torch.is_tensor(value):
            assert torch.equal(value, two[name]), name
        elif isinstance(value, dict):
            assert_same(value, two[name])
        else:
            assert value == two[name], name


def assert_ended_as_the_whole_run(trainings, name):
    """Weights, buffers, optimizer and prompts to the bit; nothing left of what was cut off."""
    whole, other = trainings.root / "whole", trainings.root / name
    one, two = (load_checkpoint_file(folder / trainings.last) for folder in (whole, other))
    assert_same(one["state_dict"], two["state_dict"])
    assert_same(one["optimizer"], two["optimizer"])
    assert one["meta"]["iter"] == two["meta"]["iter"]
    assert (other / "latest.pth").resolve().name == trainings.last
    assert (whole / "prompts.pth").exists() == (trainings.number == 1)
    if trainings.number == 1:
        one, two = (load_checkpoint_file(folder / "prompts.pth") for folder in (whole, other))
        assert_same(one["state_dict"], two["state_dict"])
    assert json.loads((other / "progress.json").read_text())["eta_seconds"] in (0, None)
    names = {path.name for path in other.glob("*.pth")} - {FIRST[trainings.number]}
    assert names == {path.name for path in whole.glob("*.pth")}  # (an old one may be left)
    assert not list(other.glob(".*.tmp"))


def test_killed_within_the_write_of_a_checkpoint(trainings):
    """The kernel stops the write of the second checkpoint in its middle."""
    whole = trainings.root / "whole"
    size = (whole / trainings.second).stat().st_size
    written = f"open .{trainings.second}."
    event = next(n for n, seen in enumerate(trainings.seen) if seen.startswith(written))
    answer = trainings.run("write", event=event, limit=size // 2)
    folder = trainings.root / "write"
    assert answer == {"signal": signal.SIGXFSZ}
    (part,) = folder.glob(f".{trainings.second}.*.tmp")
    assert part.stat().st_size == size // 2  # within the write, indeed
    assert not (folder / trainings.second).exists()
    assert_nothing_half_written(folder)
    rest = trainings.run("write")
    assert len(rest["seen"]) < len(trainings.seen)  # it went on, not from the beginning
    assert_ended_as_the_whole_run(trainings, "write")


@pytest.mark.slow
def test_killed_before_each_file_operation(trainings):
    """From the second checkpoint to the end: kill -9 before each operation in the work dir."""
    first = next(n for n, s in enumerate(trainings.seen) if f".{trainings.second}." in s)
    kinds = {seen.split(" ")[0] for seen in trainings.seen[first:]}
    assert kinds == {"open", "os.rename", "os.symlink", "os.remove"}
    for event in range(first, len(trainings.seen)):
        assert trainings.run("each", event=event) == {"signal": signal.SIGKILL}
        assert_nothing_half_written(trainings.root / "each")
        trainings.run("each")
        assert_ended_as_the_whole_run(trainings, "each")
        shutil.rmtree(trainings.root / "each")


@pytest.mark.slow
def test_killed_within_each_write(trainings):
    """Whatever file is being written, a part of it is all that gets to the disk."""
    first = next(n for n, s in enumerate(trainings.seen) if f".{trainings.second}." in s)
    parts = set()
    for event, seen in enumerate(trainings.seen):
        # torch.save opens prompts.pth by itself, after the link to the checkpoint before it
        if event < first or not seen.startswith(("open .", "os.rename latest.pth")):
            continue
        trainings.run("part", event=event, limit=20)
        parts |= {p.name.split(".")[1] for p in (trainings.root / "part").glob(".*.tmp")}
        assert_nothing_half_written(trainings.root / "part")
        trainings.run("part")
        assert_ended_as_the_whole_run(trainings, "part")
        shutil.rmtree(trainings.root / "part")
    written = {trainings.second, trainings.last, "progress.json"}
    written |= {"prompts.pth"} if trainings.number == 1 else set()
    assert parts == {name.split(".")[0] for name in written}


@pytest.mark.slow
def test_killed_again_and_again_at_random_times(trainings):
    """kill -9 from outside, at moments that nobody chose."""
    chance = random.Random(trainings.number)
    start = time.monotonic()
    trainings.run("timed")
    seconds = time.monotonic() - start
    kills = 0
    for _ in range(4):
        for share in (0.95, 0.7, 0.5):
            answer = trainings.run("random", after=chance.uniform(0.1, share) * seconds)
            assert_nothing_half_written(trainings.root / "random")
            kills += "signal" in answer
        trainings.run("random")
        assert_ended_as_the_whole_run(trainings, "random")
        shutil.rmtree(trainings.root / "random")
    assert kills >= 4
