"""Prompt files: what is written is read; anything else is refused with help."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from freekd.prompts.file import fingerprint, load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

RELEASE = Path(__file__).parents[1] / "golden" / "release_layout_prompt_t2.pth"


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    prompts = FrequencyPrompts(PromptSpec.build(4, 3))
    for parameter in prompts.parameters():
        nn.init.normal_(parameter)
    path = tmp_path / "prompts.pth"
    save_prompts(prompts, str(path), {"teacher_module": "neck", "teacher_fingerprint": "abc"})
    return prompts, path


def test_round_trip(saved):
    prompts, path = saved
    loaded = load_prompts(str(path), PromptSpec.build(4, 3))
    assert loaded.prompts.spec == prompts.spec
    assert loaded.info == {"teacher_module": "neck", "teacher_fingerprint": "abc"}
    for name, value in prompts.state_dict().items():
        assert torch.equal(loaded.prompts.state_dict()[name], value)
    assert not any(parameter.requires_grad for parameter in loaded.prompts.parameters())
    assert torch.load(str(path), weights_only=True)["format"] == "freekd.prompts"
    assert os.listdir(path.parent) == [path.name]  # no temporary file stays


def test_gate_of_the_file_may_be_left_unused(saved):
    loaded = load_prompts(str(saved[1]), PromptSpec.build(4, 3, gate=None))
    assert loaded.prompts.gate is None and loaded.prompts.spec.gate is None


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (dict(channels=8, num_levels=3), ["teacher_channels", "(8, 8, 8)", "(4, 4, 4)"]),
        (dict(channels=4, num_levels=5), ["num_levels", "5", "3"]),
        (dict(channels=4, num_levels=3, num_prompts=6), ["num_prompts", "6", "2"]),
        (dict(channels=4, num_levels=3, wavelet="db2"), ["wavelet", "'db2'", "'haar'"]),
        (dict(channels=4, num_levels=3, dwt_levels=2), ["dwt_levels", "2", "3"]),
        (dict(channels=4, num_levels=3, dwt_mode="reflect"), ["dwt_mode", "'reflect'", "'zero'"]),
        (dict(channels=4, num_levels=3, granularity="level"), ["granularity", "'level'", "'band'"]),
    ],
)
def test_foreign_prompts_are_refused(saved, expected, words):
    with pytest.raises(ValueError) as error:
        load_prompts(str(saved[1]), PromptSpec.build(**expected))
    for word in [*words, str(saved[1]), "python tools/train.py configs/prompt/"]:
        assert word in str(error.value)


def test_release_file_has_no_gate():
    with pytest.raises(ValueError, match="set gate=None"):
        load_prompts(str(RELEASE), PromptSpec.build(8, 5, granularity="level"))


def test_missing_file_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_prompts(str(tmp_path / "none.pth"))
    assert "none.pth" in str(error.value)
    assert "python tools/train.py configs/prompt/" in str(error.value)


def test_truncated_file(saved):
    _, path = saved
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RuntimeError, match="truncated.*python tools/train.py"):
        load_prompts(str(path))


def test_foreign_checkpoint(tmp_path):
    path = tmp_path / "detector.pth"
    torch.save({"state_dict": {"backbone.conv1.weight": torch.zeros(1)}}, str(path))
    with pytest.raises(RuntimeError, match=r"not a prompt file.*backbone\.conv1\.weight"):
        load_prompts(str(path))


def test_damaged_content(saved):
    _, path = saved
    content = torch.load(str(path), weights_only=True)
    del content["state_dict"]["prompts.0"]
    torch.save(content, str(path))
    with pytest.raises(RuntimeError, match="(?s)damaged.*prompts.0"):
        load_prompts(str(path))


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    path = tmp_path / "evil.pth"
    torch.save({"format": "freekd.prompts", "x": Evil()}, str(path))
    with pytest.raises(RuntimeError, match="weights_only"):
        load_prompts(str(path))
    assert not (tmp_path / "ran").exists()


def test_a_failed_save_keeps_the_old_file(saved, monkeypatch):
    prompts, path = saved
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_prompts(prompts, str(path))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_fingerprint():
    torch.manual_seed(0)
    one = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    two = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert fingerprint(one) != fingerprint(two)
    two.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(two)
    two[1].num_batches_tracked += 5
    assert fingerprint(one) == fingerprint(two)
    two[1].running_mean += 1e-3
    assert fingerprint(one) != fingerprint(two)
