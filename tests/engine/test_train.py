"""Training: exact resume, data order, progress, two processes."""

import json
from pathlib import Path

import pytest
import torch

from freekd.engine.train import main


def weights(path):
    return torch.load(str(path), weights_only=True)["state_dict"]


def assert_same_weights(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    different = [key for key in one if not torch.equal(one[key], two[key])]
    assert not different, different


@pytest.mark.parametrize("distill", [False, True], ids=["plain", "distill"])
@pytest.mark.parametrize("kind,last,middle", [("epochs", "epoch_2", "epoch_1"),
                                              ("iterations", "iter_6", "iter_3")])  # fmt: skip
def test_resumed_run_equals_uninterrupted_run(tiny, tmp_path, kind, last, middle, distill):
    config = tiny.config(f"resume_{kind}_{distill}", kind, distill)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = [config, "--seed", "3", "--no-validate", "--device", "cpu"]
    assert main([*common, "--work-dir", str(whole)]) == 0
    parts.mkdir()
    (parts / f"{middle}.pth").write_bytes((whole / f"{middle}.pth").read_bytes())
    assert main([*common, "--work-dir", str(parts), "--auto-resume"]) == 0
    assert_same_weights(whole / f"{last}.pth", parts / f"{last}.pth")
    progress = json.loads((parts / "progress.json").read_text())
    total = 8 if kind == "epochs" else 6
    assert progress["iter"] == progress["max_iters"] == total
    assert progress["eta_seconds"] == 0 and progress["loss"] > 0
    log = next(Path(parts).glob("*.log.json")).read_text().splitlines()
    assert json.loads(log[-1])["mode"] == "train"
