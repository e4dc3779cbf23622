"""Both stages as users start them: exact resume, two processes, and errors of one line."""

import copy
import subprocess
from pathlib import Path

import pytest
import torch

from freekd.datasets import make_digits
from freekd.fileio import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "configs/prompt/retinanet_r34_digits.py"
DISTILL = "configs/freekd/retinanet_r34_r18_digits.py"
DINO_PROMPT = "configs/prompt/dino_r18w32_digits.py"  # the frozen teacher draws, too
DINO_DISTILL = "configs/freekd/dino_r18w32_r18w16_digits.py"
PROMPTS_KEY = "algorithm.distiller.components.0.losses.0.prompts"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Data of two batches, teachers with random weights, and prompts made with them."""
    from freekd.config.load import load_config
    from freekd.engine.build import build_model

    folder = tmp_path_factory.mktemp("stages")
    data = make_digits(folder / "data", num_train=16, num_val=2)
    options, found = {}, {}
    for split in ("train", "val"):
        options[f"data.{split}.ann_file"] = f"{data}/annotations/{split}.json"
        options[f"data.{split}.img_prefix"] = f"{data}/{split}/"
    for prompt, distill in ((PROMPT, DISTILL), (DINO_PROMPT, DINO_DISTILL)):
        torch.manual_seed(0)
        cfg = load_config(str(ROOT / prompt))
        algorithm = build_model(cfg, "det")
        teacher = str(folder / f"{len(found)}.pth")
        torch.save(dict(state_dict=algorithm.architecture.model.state_dict()), teacher)
        prompts = str(folder / f"prompts_{len(found)}.pth")
        algorithm.save_prompts(prompts)
        found[prompt] = {
            **options,
            "algorithm.architecture.checkpoint": teacher,
            "runner.max_iters": 4,
            "checkpoint_config.interval": 2,
        }
        found[distill] = {
            **options,
            "algorithm.distiller.teacher_checkpoint": teacher,
            PROMPTS_KEY: prompts,
            "runner.max_epochs": 2,
        }
    return found


def run(config, options, work_dir, resume_from=None):
    from freekd.config.load import load_config
    from freekd.engine.train import train

    cfg = load_config(config, copy.deepcopy(options))
    cfg.work_dir, cfg.device, cfg.seed = str(work_dir), "cpu", 0
    cfg.resume_from = resume_from
    return train(cfg, validate=False)


LOCALISING = {  # what is running, drawn and learned besides
    "algorithm.architecture.form": "energy_bias",
    "algorithm.architecture.fill": "noise",
    "algorithm.sparsity": 0.2,
}


@pytest.mark.parametrize(
    ("config", "changes", "half", "end"),
    [
        (PROMPT, {}, "iter_2.pth", "iter_4.pth"),
        (PROMPT, LOCALISING, "iter_2.pth", "iter_4.pth"),
        (DISTILL, {}, "epoch_1.pth", "epoch_2.pth"),
        (DINO_PROMPT, {}, "iter_2.pth", "iter_4.pth"),
        (DINO_DISTILL, {}, "epoch_1.pth", "epoch_2.pth"),
    ],
)
def test_resume_continues_exactly(config, changes, half, end, files, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = {**files[config], **changes, "checkpoint_config.max_keep_ckpts": 5}
    assert run(config, options, tmp_path / "whole").iter == 4
    resumed = run(config, options, tmp_path / "rest", str(tmp_path / "whole" / half))
    assert resumed.iter == 4
    one, two = (load_checkpoint_file(tmp_path / name / end) for name in ("whole", "rest"))
    assert set(one["state_dict"]) == set(two["state_dict"])
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    middle = load_checkpoint_file(tmp_path / "whole" / half)["state_dict"]
    assert any(not torch.equal(value, one["state_dict"][name]) for name, value in middle.items())


@pytest.mark.slow
def test_two_processes_train_the_student(files, tmp_path):
    """``dist_train.sh`` over gloo: batch 4 in each of two processes is the batch of 8 in one."""
    options = {**files[DISTILL], "data.samples_per_gpu": 4, "runner.max_epochs": 1}
    done = subprocess.run(
        ["bash", "tools/dist_train.sh", DISTILL, "2", "--work-dir", str(tmp_path), "--device",
         "cpu", "--seed", "0", "--no-validate", "--cfg-options",
         *(f"{key}={value}" for key, value in options.items())],
        cwd=str(ROOT), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    content = load_checkpoint_file(tmp_path / "latest.pth")
    assert content["meta"]["iter"] == 2 and content["meta"]["world_size"] == 2
    assert all(bool(torch.isfinite(v).all()) for v in content["state_dict"].values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({PROMPTS_KEY: "none.pth"}, ["none.pth", "python tools/train.py configs/prompt/"]),
        (
            {"algorithm.distiller.components.0.losses.0.num_prompts": 6},
            ["num_prompts: the config says 6, the file was made for 2"],
        ),
        (
            {"algorithm.distiller.components.0.teacher_module": "nek"},
            ["pair.losses.freekd.module (teacher)='nek'", "'neck'"],
        ),
        (
            {"algorithm.distiller.teacher_checkpoint": "none.pth"},
            ["none.pth", "distiller.teacher_checkpoint"],
        ),
    ],
)
def test_errors_of_the_command(change, words, files, tmp_path, monkeypatch, capsys):
    from freekd.engine.train import main

    monkeypatch.chdir(ROOT)
    options = {**files[DISTILL], **change}
    code = main(
        [DISTILL, "--work-dir", str(tmp_path), "--seed", "0", "--no-validate", "--cfg-options"]
        + [f"{key}={value}" for key, value in options.items()]
    )
    error = capsys.readouterr().err
    assert code == 1
    assert "error: " in error and "Traceback" not in error
    for word in words:
        assert word in error
    assert not list(tmp_path.glob("*.pth"))  # nothing half-written
