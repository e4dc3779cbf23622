"""Every shipped config is built and trained for one step, as it is but for data and teacher."""

from pathlib import Path

import pytest
import torch

from freekd.datasets import make_digits
from freekd.fileio import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").glob("*/*.py")
    if path.parent.name != "_base_"
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp("data") / "digits", num_train=8, num_val=2)


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """A teacher with random weights, and prompts that were made with it."""
    from freekd.engine.setup import build_model, load_config

    folder = tmp_path_factory.mktemp("stage1")
    torch.manual_seed(0)
    cfg = load_config(str(ROOT / "configs/prompt/retinanet_r34_digits.py"))
    cfg.algorithm.architecture.checkpoint = None
    algorithm = build_model(cfg, "det")
    algorithm.init_weights()
    teacher = folder / "teacher.pth"
    torch.save(dict(state_dict=algorithm.architecture.model.state_dict()), str(teacher))
    algorithm.save_prompts(str(folder / "prompts.pth"))
    return teacher, folder / "prompts.pth"


def test_there_are_configs():
    assert len(CONFIGS) >= 6
    assert {Path(name).parts[1] for name in CONFIGS} >= {"teacher", "prompt", "freekd", "baseline"}


@pytest.mark.parametrize("config", CONFIGS)
def test_one_step(config, digits, stage1, tmp_path, monkeypatch):
    from freekd.engine.setup import load_config
    from freekd.engine.train import train

    monkeypatch.chdir(ROOT)
    cfg = load_config(config)
    teacher, prompts = stage1
    for split, name in (("train", "train"), ("val", "val")):
        cfg.data[split].ann_file = f"{digits}/annotations/{name}.json"
        cfg.data[split].img_prefix = f"{digits}/{name}/"
    if "algorithm" in cfg:
        if cfg.algorithm.get("distiller"):
            cfg.algorithm.distiller.teacher_checkpoint = str(teacher)
            for component in cfg.algorithm.distiller.components:
                for loss in component.losses:
                    if loss.get("prompts"):
                        loss.prompts = str(prompts)
        else:
            cfg.algorithm.architecture.checkpoint = str(teacher)
    key = "max_epochs" if "max_epochs" in cfg.runner else "max_iters"
    cfg.runner[key] = 1  # 8 images, batch 8: one step
    cfg.work_dir, cfg.device, cfg.seed = str(tmp_path), "cpu", 0
    runner = train(cfg, validate=False)
    assert runner.iter == 1
    assert torch.isfinite(torch.tensor(runner.outputs["log_vars"]["loss"]))
    state = load_checkpoint_file(tmp_path / "latest.pth")["state_dict"]
    assert all(bool(torch.isfinite(v).all()) for v in state.values() if v.is_floating_point())
    assert (tmp_path / "prompts.pth").is_file() == config.startswith("configs/prompt")
    if config.startswith("configs/freekd"):  # the student is there, the teacher is not
        assert any(name.startswith("architecture.model.") for name in state)
        assert not any("teacher" in name for name in state)
        assert "ratio.freekd" in runner.outputs["log_vars"]
