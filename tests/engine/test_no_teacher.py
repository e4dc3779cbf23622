"""A run of a pair without a teacher, from its doctor to its student: configs/uskd, small data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.convert.student import convert_student
from freekd.datasets import make_digit_images
from freekd.doctor import main as doctor
from freekd.engine.test import main as evaluate
from freekd.engine.train import main as train
from freekd.zoo.stock import read_model

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "uskd" / "resnet18_digits_cls.py")
NO_MORE = ["custom_hooks=[]", "runner.max_epochs=2", "log_config.interval=1",
           "checkpoint_config.max_keep_ckpts=2", "log_level=WARNING"]  # fmt: skip


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    root = tmp_path_factory.mktemp("no_teacher")
    make_digit_images(root, num_train=64, num_val=10)
    files = [f"data.{split}.data_prefix={root}/{split}" for split in ("train", "val")]
    return ["--cfg-options", *files, f"data.test.data_prefix={root}/val", *NO_MORE]


@pytest.fixture(scope="module")
def runs(options, tmp_path_factory):
    """The pair trained in one go, and interrupted after its first epoch."""
    folder, before = tmp_path_factory.mktemp("runs"), torch.get_num_threads()
    torch.set_num_threads(1)
    args = [CONFIG, "--seed", "1", "--device", "cpu", "--no-validate", "--work-dir"]
    assert train([*args, str(folder / "whole"), *options]) == 0
    (folder / "parts").mkdir()
    first = (folder / "whole" / "epoch_1.pth").read_bytes()
    (folder / "parts" / "epoch_1.pth").write_bytes(first)
    assert train([*args, str(folder / "parts"), "--auto-resume", *options]) == 0
    torch.set_num_threads(before)
    return folder


def content(path):
    return torch.load(str(path), weights_only=True)


def test_a_resumed_run_is_the_same_bit_for_bit(runs):
    both = [content(runs / name / "epoch_2.pth") for name in ("whole", "parts")]
    states = [each["state_dict"] for each in both]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    first = content(runs / "whole" / "epoch_1.pth")["state_dict"]
    for name in ("architecture.model.head.fc.weight", "distiller.losses.loss_uskd.weak_head.bias"):
        assert not torch.equal(first[name], states[0][name])  # both learn
    kept = [name for name in states[0] if name.startswith("distiller.")]
    assert [name.split(".", 3)[3] for name in kept] == [
        "zipf", "weak_head.weight", "weak_head.bias",  # mmcv keeps what is not persistent, too
    ]  # fmt: skip
    assert "teacher_fingerprint" not in both[0]["meta"]
    log = [json.loads(line) for line in next((runs / "whole").glob("*.log.json")).open()]
    steps = [each for each in log if each.get("mode") == "train"]
    assert len(steps) == 4  # 2 epochs of 64 images, 32 a step
    for step in steps:
        parts = step["student.loss"] + step["distiller.loss_uskd.0"]
        assert step["loss"] == pytest.approx(parts, abs=2e-5) and step["ratio.uskd"] > 0


def test_the_student_alone_scores_and_answers_as_in_its_pair(runs, options, tmp_path):
    from mmcls.models import build_classifier

    whole, alone = runs / "whole" / "latest.pth", tmp_path / "student.pth"
    convert_student(str(whole), str(alone), check=CONFIG)
    scores = []
    for checkpoint in (whole, alone):
        file = tmp_path / "scores.json"
        args = [CONFIG, str(checkpoint), "--eval", "accuracy", "--json", str(file)]
        assert evaluate([*args, "--device", "cpu", *options]) == 0
        scores.append(json.loads(file.read_text())["metrics"])
    assert scores[0] == scores[1] and "accuracy_top-1" in scores[0]

    cfg = load.load_config(CONFIG)
    stock = build_classifier(read_model(cfg.algorithm.architecture.model, "model"))
    stock.load_state_dict(content(alone)["state_dict"], strict=True)
    pair = content(whole)["state_dict"]
    prefix = "architecture.model."
    assert all(
        torch.equal(value, pair[prefix + name]) for name, value in stock.state_dict().items()
    )
    with torch.no_grad():
        found = stock.eval()(torch.randn(2, 3, 32, 32), return_loss=False, img_metas=None)
    assert np.isfinite(found).all()


def test_the_baseline_has_the_pairs_data_and_first_weights(runs, options, tmp_path):
    args = [CONFIG, "--seed", "1", "--device", "cpu", "--no-validate", "--student-only"]
    more = [*options, "runner.max_epochs=1"]
    assert train([*args, "--work-dir", str(tmp_path), *more]) == 0
    lines = [json.loads(line) for line in next(tmp_path.glob("*.log.json")).open()]
    record = next(each for each in lines if each.get("mode") == "train")
    of_pair = [json.loads(line) for line in next((runs / "whole").glob("*.log.json")).open()]
    first = next(each for each in of_pair if each.get("mode") == "train")
    assert record["loss"] == first["student.loss"] and not [k for k in record if "uskd" in k]


def test_the_doctor_finds_no_teacher_and_nothing_wrong(options, tmp_path, capsys):
    file = tmp_path / "report.json"
    assert doctor([CONFIG, "--device", "cpu", "--json", str(file), *options]) == 0
    text, report = capsys.readouterr().out, json.loads(file.read_text())
    assert report["problems"] == [] and "there is no teacher" in text
    assert "Tapped modules (student)\n  head.fc\n    (32, 10)\n" in text
    assert "teacher" not in report["weights"] and "teacher_loss" not in report
    assert [tap["teacher"] for tap in report["taps"]] == [None, None]
    term, task = report["terms"]["loss_uskd"], report["losses"]["task"]
    assert term["ratio"] == pytest.approx(term["loss"] / task) and term["gradient"] > 0
    assert term["key"] == "pair.losses.uskd.loss_weight"


def test_the_doctor_says_what_training_would_say(options, capsys):
    more = [*options, "pair.losses.kd.tau=4.0"]
    assert doctor([CONFIG, "--device", "cpu", *more]) == 1
    assert "pair.losses.kd needs a teacher, got None" in capsys.readouterr().err
