"""What a continued run keeps from the earlier one, warns of, and refuses."""

import json
import logging

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.engine import checkpoint, resuming
from freekd.engine.train import main, train
from freekd.fileio import load_checkpoint_file

NOW = dict(seed=1, world_size=2, samples_per_gpu=4, by_epoch=True, settings="{}")


def warnings_of(**before):
    """What is said when a run that was like ``NOW`` but for ``before`` is continued."""
    logger = logging.getLogger("test_resuming")
    said = []
    logger.warning = lambda text, *args: said.append(text % args)
    meta = {**NOW, **before}
    resuming.warn_of_differences(resuming.EarlierRun("epoch_1.pth", meta), NOW, logger)
    return said


def test_the_same_run_goes_on_in_silence():
    assert warnings_of() == []
    logger = logging.getLogger("test_resuming")
    resuming.warn_of_differences(resuming.EarlierRun("old.pth", {}), NOW, logger)  # an old file


def test_differences_are_named():
    (seed,) = warnings_of(seed=7)
    assert "with seed 1, started with 7" in seed and "Leave --seed out" in seed
    (same_batch,) = warnings_of(world_size=4, samples_per_gpu=2)
    assert "whole batch 8), started with 4 of 2 (whole batch 8)" in same_batch
    assert "agree to rounding, not bitwise" in same_batch
    (other_batch,) = warnings_of(world_size=8)
    assert "whole batch 8), started with 8 of 4 (whole batch 32)" in other_batch
    assert "the learning rate stays" in other_batch and "whole batch is 32" in other_batch
    (config,) = warnings_of(settings='{"algorithm.mu": 2, "optimizer.lr": 0.02}')
    assert "algorithm.mu: was 2, is not set; optimizer.lr: was 0.02, is not set" in config
    assert "optimizer.* stays as in the checkpoint" in config
    with pytest.raises(checkpoint.CheckpointError, match="counts epochs, as the config's.*iterat"):
        warnings_of(by_epoch=False)


def test_settings_are_what_decides_the_weights(tiny):
    text = resuming.settings_text(load.load_config(tiny.config("settings", distill=True)))
    settings = json.loads(text)
    assert settings["optimizer.lr"] == 1e-3 and settings["runner.max_epochs"] == 2
    assert settings["algorithm.distiller.components.0.losses.0.tau"] == 1
    assert settings["data.train.pipeline.3.flip_ratio"] == 0.5
    assert not any(key.startswith(("data.val", "evaluation", "train_pipeline")) for key in settings)
    changed = {"optimizer.lr": 1e-2, "evaluation.interval": 7, "data.workers_per_gpu": 2}
    other = load.load_config(tiny.config("settings", distill=True), changed)
    lines = resuming.differences(text, resuming.settings_text(other))
    assert lines == ["optimizer.lr: was 0.001, is 0.01"]


def test_a_continued_run_keeps_the_seed_that_was_drawn(tiny, tmp_path, capsys):
    """Without --seed too: the same weights as the uninterrupted run."""
    common = [tiny.config("drawn", "iterations"), "--no-validate", "--device", "cpu"]
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    assert main([*common, "--work-dir", str(whole)]) == 0
    rest.mkdir()
    (rest / "iter_3.pth").write_bytes((whole / "iter_3.pth").read_bytes())
    assert main([*common, "--work-dir", str(rest), "--auto-resume"]) == 0
    one, two = (load_checkpoint_file(folder / "iter_6.pth") for folder in (whole, rest))
    assert one["meta"]["seed"] == two["meta"]["seed"]
    assert all(
        torch.equal(value, two["state_dict"][key]) for key, value in one["state_dict"].items()
    )
    assert "resumed with" not in capsys.readouterr().err

    # with changes: named; and what was trained is kept
    more = ["--work-dir", str(rest), "--auto-resume", "--seed", "1", "--cfg-options"]
    assert main([*common, *more, "runner.max_iters=7", "optimizer.lr=1.0"]) == 0
    error = capsys.readouterr().err
    assert f"resumed with seed 1, started with {one['meta']['seed']}" in error
    assert "optimizer.lr: was 0.001, is 1.0; runner.max_iters: was 6, is 7" in error
    end = load_checkpoint_file(rest / "iter_7.pth")["optimizer"]["param_groups"][0]
    assert end["initial_lr"] == 0.001  # as the warning says


def test_another_unit_is_refused(tiny, tmp_path, capsys):
    epochs = [tiny.config("unit", "epochs"), "--no-validate", "--device", "cpu"]
    iterations = [tiny.config("unit_iterations", "iterations"), *epochs[1:]]
    work = ["--work-dir", str(tmp_path)]
    assert main([*iterations, *work]) == 0
    capsys.readouterr()
    assert main([*epochs, *work, "--auto-resume"]) == 1
    error = capsys.readouterr().err
    assert "expected checkpoints of a run that counts epochs" in error
    assert "iter_6.pth of a run that counts iterations" in error and "own --work-dir" in error
    assert main([*epochs, *work, "--resume-from", str(tmp_path / "iter_6.pth")]) == 1
    assert "it counts iterations" in capsys.readouterr().err


def test_epochs_of_another_batch_size_count_their_own_iterations(tiny, tmp_path):
    """7 images: 4 iterations of 2 an epoch, 2 of 4; the learning rate follows the iterations."""
    config = tiny.config("batch", "epochs")

    def run(images, **more):
        cfg = load.load_config(config, {"data.samples_per_gpu": images, **more})
        cfg.work_dir, cfg.device, cfg.seed = str(tmp_path), "cpu", 0
        return train(cfg, validate=False)

    assert run(2, **{"runner.max_epochs": 1}).iter == 4
    runner = run(4, resume_from=str(tmp_path / "epoch_1.pth"))
    assert (runner.epoch, runner.iter, runner.max_iters) == (2, 4, 4)


def test_checkpoints_leave_the_teacher_out_but_know_it(stage, tmp_path, capsys):
    """By default of the student's size, and refused with another teacher; or with the teacher."""
    stage(2, "makes_the_teacher")
    teacher_file = stage.folder / "GN" / "teacher.pth"
    teacher = load_checkpoint_file(teacher_file)["state_dict"]
    teacher["neck.fpn_convs.0.conv.bias"] += 1
    torch.save(dict(state_dict=teacher), str(tmp_path / "other.pth"))
    sizes = {}
    for saved in (False, True):
        extra = f"algorithm['distiller']['save_teacher'] = {saved}\nlr_config = None\n"
        extra += "algorithm['distiller']['components'][0]['losses'][0]['prompts'] = None\n"
        work = tmp_path / str(saved)
        args = [stage(2, f"teacher_{saved}", extra), "--no-validate", "--device", "cpu"]
        args += ["--work-dir", str(work), "--auto-resume", "--cfg-options"]
        assert main([*args, "runner.max_iters=1"]) == 0
        sizes[saved] = (work / "iter_1.pth").stat().st_size
        state = load_checkpoint_file(work / "iter_1.pth")["state_dict"]
        assert any(key.startswith("distiller.teacher.") for key in state) == saved
        student = {key for key in state if key.startswith("architecture.model.")}
        aligned = [k for k in state if "distiller.losses.loss_freekd.align." in k]
        if not saved:  # the student, the alignment of 3 levels, and no more
            assert set(state) == student | set(aligned) and len(aligned) == 6

        capsys.readouterr()
        changed = f"algorithm.distiller.teacher_checkpoint={tmp_path / 'other.pth'}"
        code = main([*args, "runner.max_iters=2", changed])
        error = capsys.readouterr().err
        assert "algorithm.distiller.teacher_checkpoint: was" in error
        if saved:  # the checkpoint brings its own
            end = load_checkpoint_file(work / "iter_2.pth")["state_dict"]
            key = "distiller.teacher.neck.fpn_convs.0.conv.bias"
            assert code == 0 and torch.equal(end[key], state[key])
        else:
            assert code == 1 and "expected the teacher that the run was started with" in error
            assert not (work / "iter_2.pth").exists()
            assert main([*args, "runner.max_iters=2"]) == 0  # with its own teacher it goes on
            assert (work / "iter_2.pth").exists()
    assert sizes[True] - sizes[False] == pytest.approx(teacher_file.stat().st_size, rel=0.05)


def test_prompts_do_not_travel_in_checkpoints(stage, tmp_path, capsys):
    """They are the config's file's; a run does not go on with others, old checkpoints' included."""
    from freekd.prompts.file import load_prompts, save_prompts

    args = [stage(2, "prompts"), "--no-validate", "--device", "cpu", "--seed", "0"]
    args += ["--work-dir", str(tmp_path / "run"), "--auto-resume", "--cfg-options"]
    assert main([*args, "runner.max_iters=1"]) == 0
    first = tmp_path / "run" / "iter_1.pth"
    content = load_checkpoint_file(first)
    assert not any("prompts" in key for key in content["state_dict"])
    prompts, info = load_prompts(str(stage.folder / "GN" / "prompts.pth"))
    for parameter in prompts.parameters():
        parameter.data.neg_()
    save_prompts(prompts, str(tmp_path / "other.pth"), info)
    other = f"algorithm.distiller.components.0.losses.0.prompts={tmp_path / 'other.pth'}"
    words = "the run was started with, but loss_freekd has others now"
    assert main([*args, "runner.max_iters=2", other]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "run" / "iter_2.pth").exists()

    none = "algorithm.distiller.components.0.losses.0.prompts=None"
    assert main([*args, "runner.max_iters=2", none]) == 1
    assert "loss_freekd has no prompts where it had some" in capsys.readouterr().err

    old = load_prompts(str(stage.folder / "GN" / "prompts.pth")).prompts.state_dict()
    prefix = "distiller.losses.loss_freekd.prompts."  # a checkpoint of version 0.1 carries them
    content["state_dict"].update({prefix + key: value for key, value in old.items()})
    del content["meta"]["prompt_fingerprints"]
    torch.save(content, str(first))
    assert main([*args, "runner.max_iters=2", other]) == 1
    assert words in capsys.readouterr().err
    assert main([*args, "runner.max_iters=2"]) == 0  # with its own it goes on

    cfg = load.load_config(args[0], {"load_from": str(first), "runner.max_iters": 1})
    cfg.algorithm.distiller.components[0].losses[0].prompts = str(tmp_path / "other.pth")
    cfg.work_dir, cfg.device, cfg.seed = str(tmp_path / "new"), "cpu", 0
    model = train(cfg, validate=False).model.module
    for name, value in model.distiller.losses["loss_freekd"].prompts.state_dict().items():
        assert torch.equal(value, prompts.state_dict()[name])


def test_stage_1_does_not_go_on_with_another_teacher(stage, tmp_path, capsys):
    args = [stage(1, "teachers"), "--no-validate", "--device", "cpu", "--work-dir", str(tmp_path)]
    args += ["--auto-resume", "--cfg-options"]
    assert main([*args, "runner.max_iters=1"]) == 0
    teacher = load_checkpoint_file(stage.folder / "GN" / "teacher.pth")
    teacher["state_dict"]["neck.fpn_convs.0.conv.bias"] += 1
    torch.save(teacher, str(tmp_path / "other.teacher"))
    changed = f"algorithm.architecture.checkpoint={tmp_path / 'other.teacher'}"
    assert main([*args, "runner.max_iters=2", changed]) == 1
    assert "expected the teacher that the run was started with" in capsys.readouterr().err
