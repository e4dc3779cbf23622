"""Training: exact resume after an interruption, the same start for a student."""

import json
from pathlib import Path

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine import build, checkpoint, hooks, launch
from freekd.engine.optimizers import build_optimizer
from freekd.engine.train import main


def weights(path):
    return torch.load(str(path), weights_only=True)["state_dict"]


def assert_same_weights(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    different = [key for key in one if not torch.equal(one[key], two[key])]
    assert not different, different


@pytest.mark.parametrize(
    "kind,distill", [("epochs", False), ("iterations", False), ("iterations", True)]
)
def test_interrupted_run_ends_like_an_uninterrupted_one(tiny, tmp_path, capsys, kind, distill):
    """Killed while the last checkpoint was written: a truncated file and a temporary one."""
    config = tiny.config(f"resume_{kind}_{distill}", kind, distill)
    middle, last = ("epoch_1", "epoch_2") if kind == "epochs" else ("iter_3", "iter_6")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = [config, "--seed", "3", "--no-validate", "--device", "cpu"]
    assert main([*common, "--work-dir", str(whole)]) == 0

    parts.mkdir()
    (parts / f"{middle}.pth").write_bytes((whole / f"{middle}.pth").read_bytes())
    half = (whole / f"{last}.pth").read_bytes()[:100_000]
    (parts / f"{last}.pth").write_bytes(half)
    (parts / f".{last}.pth.77.tmp").write_bytes(half)
    torch.manual_seed(99)  # what the process drew before must not matter
    assert main([*common, "--work-dir", str(parts), "--auto-resume"]) == 0

    assert_same_weights(whole / f"{last}.pth", parts / f"{last}.pth")
    assert f"auto-resume skips {parts / last}.pth" in capsys.readouterr().err
    assert not list(parts.glob(".*.tmp"))
    assert (parts / "latest.pth").resolve().name == f"{last}.pth"
    total = 8 if kind == "epochs" else 6
    progress = json.loads((parts / "progress.json").read_text())
    assert progress["iter"] == progress["max_iters"] == total
    assert progress["eta_seconds"] == 0 and progress["loss"] > 0
    log = [json.loads(line) for line in next(parts.glob("*.log.json")).read_text().splitlines()]
    assert log[-1]["mode"] == "train" and log[-1]["iter"] in (total, total // 2)
    config_dump = (parts / Path(config).name).read_text()
    assert "RetinaNet" in config_dump and "samples_per_gpu=2" in config_dump
    meta = torch.load(str(parts / f"{last}.pth"), weights_only=True)["meta"]
    assert tuple(meta["CLASSES"]) == ("dark", "light") and meta["seed"] == 3

    # once more: there is nothing left to do
    assert main([*common, "--work-dir", str(parts), "--auto-resume"]) == 0
    assert_same_weights(whole / f"{last}.pth", parts / f"{last}.pth")


def test_student_starts_from_the_same_weights_with_and_without_a_teacher(tiny):
    states = []
    for distill in (False, True):
        cfg = load.load_config(tiny.config(f"start_{distill}", distill=distill))
        launch.set_random_seed(5)
        model = build.build_model(cfg, "det")
        launch.set_random_seed(5)
        model.init_weights()
        states.append((model.architecture.model if distill else model).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_optimizer_has_the_trainable_parameters_only(tiny):
    cfg = load.load_config(tiny.config("optimizer"))
    model = build.build_model(cfg, "det")
    model.backbone.requires_grad_(False)
    optimizer_cfg = dict(cfg.optimizer, paramwise_cfg=dict(norm_decay_mult=0.0))
    for one in (cfg.optimizer, optimizer_cfg):
        optimizer = build_optimizer(model, one, "det")
        ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert ids == {id(p) for p in model.parameters() if p.requires_grad}
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="every parameter of the model is frozen"):
        build_optimizer(model, cfg.optimizer, "det")


def test_model_draws_depend_on_seed_iteration_and_rank():
    class Runner:
        iter, rank = 4, 0

    def draw(seed, iteration, rank):
        Runner.iter, Runner.rank = iteration, rank
        hooks.IterationSeedHook(seed).before_train_iter(Runner)
        return torch.rand(1).item()

    assert draw(0, 4, 0) == draw(0, 4, 0)
    assert len({draw(0, 4, 0), draw(1, 4, 0), draw(0, 5, 0), draw(0, 4, 1)}) == 4


def test_not_finite_loss_stops_the_run(tiny, tmp_path, capsys):
    config = tiny.config("nan", "iterations", extra="optimizer['lr'] = 1e30\n")
    args = [config, "--work-dir", str(tmp_path), "--no-validate", "--cfg-options"]
    args += ["optimizer_config.grad_clip=None", "lr_config.warmup=None"]
    assert main(args) == 1
    error = capsys.readouterr().err
    assert "The loss is nan at iteration" in error or "The loss is inf at iteration" in error
    assert "loss_cls=" in error and "Lower the learning rate" in error
    assert not (tmp_path / "iter_6.pth").exists()


def test_prompts_are_saved_with_checkpoints_and_at_the_end(tmp_path):
    class Algorithm(torch.nn.Module):
        saved = []

        def save_prompts(self, path):
            self.saved.append(path)

    class Runner:
        iter, epoch, rank, work_dir = 0, 0, 0, str(tmp_path)
        model = Algorithm()
        logger = launch.make_logger()

    hook = hooks.SavePromptsHook(interval=2, by_epoch=False)
    for Runner.iter in range(5):
        hook.after_train_iter(Runner)
        hook.after_train_epoch(Runner)
    assert len(Algorithm.saved) == 2
    hook.after_run(Runner)
    assert Algorithm.saved == [str(tmp_path / "prompts.pth")] * 3


class TestResumeErrors:
    def runner(self, tiny, tmp_path):
        cfg = load.load_config(tiny.config("errors"))
        model = launch.wrap_for_training(build.build_model(cfg, "det"), "cpu", False)
        return compat_runner(model, build_optimizer(model, cfg.optimizer, "det"), tmp_path)

    def test_no_optimizer_in_the_file(self, tiny, tmp_path):
        runner = self.runner(tiny, tmp_path)
        path = tmp_path / "student.pth"
        torch.save({"meta": {}, "state_dict": {}}, path)
        with pytest.raises(checkpoint.CheckpointError, match="has no optimizer.*load_from"):
            checkpoint.resume(runner, str(path))
        torch.save([1], path)
        with pytest.raises(checkpoint.CheckpointError, match="holds a list"):
            checkpoint.resume(runner, str(path))
        torch.save({"meta": {}, "state_dict": {}, "optimizer": {}}, path)
        with pytest.raises(checkpoint.CheckpointError, match="no epoch and iter"):
            checkpoint.resume(runner, str(path))

    def test_other_model_or_optimizer(self, tiny, tmp_path):
        runner = self.runner(tiny, tmp_path)
        state = runner.model.module.state_dict()
        content = {
            "meta": {"epoch": 1, "iter": 4},
            "state_dict": state,
            "optimizer": torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1).state_dict(),
        }
        path = tmp_path / "epoch_1.pth"
        torch.save(content, path)
        with pytest.raises(checkpoint.CheckpointError, match="optimizer state does not fit"):
            checkpoint.resume(runner, str(path))
        content["state_dict"] = {k: v for k, v in state.items() if k.startswith("backbone")}
        torch.save(content, path)
        with pytest.raises(checkpoint.CheckpointError, match=r"of the model's \d+ weights \(\d+%"):
            checkpoint.resume(runner, str(path))
        content["state_dict"] = dict(state, **{"neck.fpn_convs.0.conv.bias": torch.zeros(3)})
        torch.save(content, path)
        with pytest.raises(checkpoint.CheckpointError, match="1 others.*fpn_convs.0.conv.bias"):
            checkpoint.resume(runner, str(path))


def compat_runner(model, optimizer, tmp_path):
    from mmcv.runner import EpochBasedRunner

    return EpochBasedRunner(
        model,
        optimizer=optimizer,
        work_dir=str(tmp_path),
        logger=launch.make_logger(),
        meta={},
        max_epochs=1,
    )
