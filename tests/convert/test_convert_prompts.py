"""Prompt files: out of a stage-1 checkpoint, equal to stage 1's own; the release's and back."""

import os
from pathlib import Path

import pytest
import torch
from tiny import build, detector

from freekd import compat

compat.apply()

from freekd.convert.prompts import main_extract, main_release
from freekd.fileio import load_checkpoint_file
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

RELEASE = Path(__file__).parents[1] / "golden" / "release_layout_prompt_t2.pth"

STAGE_1 = """
model = None
optimizer = dict(type="Adam", lr=0.01)
algorithm = dict(
    type="FrequencyPromptFinetune",
    architecture=dict(type="FrequencyPromptTeacher", model=TEACHER, channels=8, num_levels=3,
                      checkpoint="CHECKPOINT"),
)
"""


def same(one, two):
    """Whether two files hold the same, tensors bit by bit."""
    one, two = (load_checkpoint_file(path) for path in (one, two))
    states = [content.pop("state_dict") for content in (one, two)]
    return (
        one == two
        and list(states[0]) == list(states[1])
        and all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    )


@pytest.fixture(scope="module")
def stage_1(tiny, tmp_path_factory):
    """Work dir of a stage-1 run of six iterations, checkpoints at 3 and 6; and its config."""
    from freekd.config import load
    from freekd.engine.train import train

    folder = tmp_path_factory.mktemp("stage1")
    teacher = dict(detector(), type="RetinaNet")
    teacher["bbox_head"]["num_classes"] = 2
    torch.manual_seed(0)
    built = build(dict(teacher, type="mmdet.RetinaNet"))
    torch.save(dict(state_dict=built.state_dict()), str(folder / "teacher.pth"))
    text = STAGE_1.replace("TEACHER", repr(teacher))
    text = text.replace("CHECKPOINT", str(folder / "teacher.pth"))
    config = tiny.config("stage1", kind="iterations", extra=text)
    cfg = load.load_config(config)
    cfg.work_dir, cfg.device, cfg.seed = str(folder / "run"), "cpu", 0
    train(cfg, validate=False)
    return folder / "run", config


def test_equal_to_what_stage_1_writes(stage_1, tmp_path, capsys):
    run, config = stage_1
    out = tmp_path / "prompts.pth"
    assert main_extract([str(run / "iter_6.pth"), "--out-path", str(out)]) == 0
    assert same(out, run / "prompts.pth")
    info = load_prompts(str(out)).info
    assert len(info["teacher_fingerprint"]) == 16 and info["teacher_module"] == "neck"
    assert "T = 2, 3 pyramid levels of 8 channels" in capsys.readouterr().out
    # an earlier checkpoint has earlier prompts, of the same spec and teacher
    early = tmp_path / "early.pth"
    assert main_extract([str(run / "iter_3.pth"), "--out-path", str(early)]) == 0
    assert not same(early, out)
    assert load_prompts(str(early)).info == info


def test_by_the_config_for_older_checkpoints(stage_1, tmp_path, capsys):
    run, config = stage_1
    content = load_checkpoint_file(run / "iter_6.pth")
    del content["meta"]["prompts"]
    content["meta"]["config"] = "raise SystemExit('code of a checkpoint must not run')"
    old = tmp_path / "old.pth"
    torch.save(content, str(old))
    out = tmp_path / "prompts.pth"
    assert main_extract([str(old), "--out-path", str(out)]) == 1
    assert "meta has no 'prompts'" in capsys.readouterr().err and not out.exists()
    assert main_extract([str(old), "--out-path", str(out), "--config", config]) == 0
    assert same(out, run / "prompts.pth")


def test_what_is_no_stage_1_checkpoint_is_refused(stage_1, tiny, tmp_path, capsys):
    run, _ = stage_1
    torch.save({"state_dict": {"architecture.model.a": torch.zeros(1)}}, str(tmp_path / "2.pth"))
    torch.save({"state_dict": {"backbone.a": torch.zeros(1)}}, str(tmp_path / "plain.pth"))
    torch.save([1], str(tmp_path / "list.pth"))
    content = load_checkpoint_file(run / "iter_6.pth")
    content["meta"]["prompts"]["spec"]["num_prompts"] = 6
    torch.save(content, str(tmp_path / "other.pth"))
    out = str(tmp_path / "out.pth")
    before = set(os.listdir(tmp_path))
    for source, options, says in (
        (tmp_path / "2.pth", [], "a checkpoint of stage 2"),
        (tmp_path / "plain.pth", [], "its first keys are backbone.a"),
        (tmp_path / "list.pth", [], "its first keys are none"),
        (run / "prompts.pth", [], "is a prompt file already"),
        (tmp_path / "other.pth", [], "do not fit its own description"),
        (tmp_path / "none.pth", [], "Expected a checkpoint at"),
        (run / "iter_6.pth", ["--config", tiny.config("plain")], "found None"),
    ):
        assert main_extract([str(source), "--out-path", out, *options]) == 1
        assert says in capsys.readouterr().err
    assert set(os.listdir(tmp_path)) == before
    assert main_extract([str(run / "iter_6.pth"), "--out-path", str(tmp_path / "2.pth")]) == 1
    assert "add --force" in capsys.readouterr().err


def test_release_to_ours_and_back(tmp_path, capsys):
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    assert main_release([str(RELEASE), "--out-path", str(ours)]) == 0
    assert "freekd's layout, T = 2, 5 pyramid levels of 8" in capsys.readouterr().out
    assert load_checkpoint_file(ours)["format"] == "freekd.prompts"
    assert main_release([str(ours), "--out-path", str(back)]) == 0
    original = load_checkpoint_file(RELEASE)["state_dict"]
    tokens = {name: value for name, value in original.items() if name.endswith("mask_token")}
    found = load_checkpoint_file(back)["state_dict"]
    assert sorted(found) == sorted(tokens) and len(tokens) == 5
    assert all(torch.equal(value, found[name]) for name, value in tokens.items())


def level_prompts(path, **changes):
    torch.manual_seed(0)
    spec = dict(granularity="level", gate=None, num_prompts=6)
    prompts = FrequencyPrompts(PromptSpec.build(8, 5, **{**spec, **changes}))
    save_prompts(prompts, str(path), {"teacher_module": "neck", "teacher_fingerprint": "ab"})


def test_ours_to_release_and_back(tmp_path):
    ours, release, back = (tmp_path / f"{name}.pth" for name in ("ours", "release", "back"))
    level_prompts(ours)
    assert main_release([str(ours), "--out-path", str(release), "--to", "release"]) == 0
    state = load_checkpoint_file(release)["state_dict"]
    assert state["distiller.losses.loss_maskd_fpn.mask_modules.4.mask_token"].shape == (4, 6, 8)
    assert main_release([str(release), "--out-path", str(back)]) == 0
    assert same(ours, back)  # what they were trained on included


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(granularity="band"), "granularity: the release has 'level', the file 'band'"),
        (
            dict(transform=dict(type="db2", levels=2)),
            "transform: the release has dict(type='haar', levels=3, mode='zero'), the file "
            "dict(type='db2', levels=2, mode='zero')",
        ),
        (
            dict(gate="position"),
            "gate: the release has None, the file dict(type='position', reduction=4)",
        ),
    ],
)
def test_the_release_has_no_such_prompts(changes, says, tmp_path, capsys):
    ours = tmp_path / "ours.pth"
    level_prompts(ours, **changes)
    assert main_release([str(ours), "--out-path", str(tmp_path / "release.pth")]) == 1
    error = capsys.readouterr().err
    assert says in error and str(ours) in error and error.count("the release has") == 1
    assert os.listdir(tmp_path) == ["ours.pth"]


def test_foreign_and_twofold_files_are_refused(tmp_path, capsys):
    two = {
        f"distiller.losses.{loss}.mask_modules.0.mask_token": torch.zeros(4, 2, 8)
        for loss in ("loss_a", "loss_b")
    }
    torch.save({"state_dict": two}, str(tmp_path / "two.pth"))
    torch.save({"state_dict": {"backbone.a": torch.zeros(1)}}, str(tmp_path / "plain.pth"))
    level_prompts(tmp_path / "ours.pth")
    before = set(os.listdir(tmp_path))
    for source, options, says in (
        ("two.pth", [], "the prompts of 2 losses"),
        ("plain.pth", [], "is not a prompt file"),
        ("ours.pth", ["--to", "ours"], "has the layout --to ours already"),
        ("none.pth", [], "Expected a prompt file at"),
    ):
        out = ["--out-path", str(tmp_path / "out.pth")]
        assert main_release([str(tmp_path / source), *out, *options]) == 1
        assert says in capsys.readouterr().err
    assert set(os.listdir(tmp_path)) == before
