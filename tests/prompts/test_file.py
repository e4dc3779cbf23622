"""Prompt files: what is written is read; anything else is refused with help."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from freekd.frequency import HAAR, WaveletTransform
from freekd.losses.freekd import FreeKDLoss
from freekd.prompts.file import fingerprint, load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

RELEASE = Path(__file__).parents[1] / "golden" / "release_layout_prompt_t2.pth"
VERSION_1 = Path(__file__).parents[1] / "golden" / "prompts_version1.pth"


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
        (
            dict(channels=4, num_levels=3, transform=dict(type="db2", mode="reflect")),
            [
                "transform: the config says dict(type='db2', levels=3, mode='reflect'), "
                "the file was made for dict(type='haar', levels=3, mode='zero')"
            ],
        ),
        (
            dict(channels=4, num_levels=3, gate=dict(type="position", reduction=2)),
            ["gate: the config says dict(type='position', reduction=2)", "reduction=4"],
        ),
        (dict(channels=4, num_levels=3, granularity="level"), ["granularity", "'level'", "'band'"]),
        (
            dict(channels=4, num_levels=3, transform="dct"),
            ["transform: the config says dict(type='dct', levels=3, block=None)", "type='haar'"],
        ),
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


def test_a_file_of_version_1_computes_what_it_did():
    """Written by version 0.1 (prompts_version1.pth); masks, gate and maps as it computed them."""
    loaded = load_prompts(str(VERSION_1))
    spec = loaded.prompts.spec
    assert spec.transform == WaveletTransform("db2", 2, "symmetric")
    assert (spec.channels, spec.num_prompts, spec.granularity) == ((8, 8, 8), 3, "band")
    assert spec.gate == dict(type="position", reduction=4)
    assert loaded.info == {
        "teacher": "RetinaNet",
        "teacher_module": "neck",
        "teacher_fingerprint": "0123456789abcdef",
    }
    with np.load(VERSION_1.with_suffix(".npz")) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    feats = [golden[f"feat_{i}"] for i in range(3)]
    outs, masks = loaded.prompts(feats)
    for i, (out, gate) in enumerate(zip(outs, loaded.prompts.gate(feats))):
        torch.testing.assert_close(out, golden[f"out_{i}"])
        torch.testing.assert_close(gate[:, :, 0, 0], golden[f"gate_{i}"])
        assert gate.std() > 0.01
        for k, mask in enumerate(masks[i]):
            torch.testing.assert_close(mask, golden[f"mask_{i}_{k}"])


def test_what_is_written_is_plain_and_of_version_3(saved):
    content = torch.load(str(saved[1]), weights_only=True)
    assert content["version"] == 3
    assert content["spec"] == dict(
        channels=[4, 4, 4],
        num_prompts=2,
        transform=dict(type="haar", levels=3, mode="zero"),
        granularity="band",
        gate=dict(type="position", reduction=4),
        form="signed",
    )
    content["version"] = 4
    torch.save(content, str(saved[1]))
    with pytest.raises(ValueError, match=r"has version 4, this freekd reads \(1, 2, 3\)"):
        load_prompts(str(saved[1]))


def test_a_part_of_the_spec_may_be_expected(saved):
    path = str(saved[1])
    assert load_prompts(path, dict(num_prompts=2)).prompts.gate is not None
    assert load_prompts(path, dict(gate=None)).prompts.gate is None
    with pytest.raises(ValueError, match="num_prompts: the config says 6, the file was made for 2"):
        load_prompts(path, dict(num_prompts=6))


def test_the_loss_takes_from_the_file_what_it_is_not_told(saved):
    _, path = saved
    loss = FreeKDLoss(4, 4, 3, prompts=str(path))
    assert (loss.transform, loss.granularity) == (HAAR, "band")
    assert loss.prompts.gate is not None
    for said in (dict(num_prompts=2), dict(transform="haar"), dict(granularity="band")):
        FreeKDLoss(4, 4, 3, prompts=str(path), **said)
    db2 = FreeKDLoss(8, 8, 3, prompts=str(VERSION_1))
    assert db2.transform == WaveletTransform("db2", 2, "symmetric")
    with pytest.raises(ValueError) as error:
        FreeKDLoss(4, 4, 5, prompts=str(path), num_prompts=6, transform="db4", granularity="level")
    for words in (
        "num_levels: the config says 5, the file was made for 3",
        "num_prompts: the config says 6, the file was made for 2",
        "transform: the config says dict(type='db4', levels=3, mode='zero'), the file",
        "granularity: the config says 'level', the file was made for 'band'",
    ):
        assert words in str(error.value)


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


def test_a_gate_that_nobody_registered_is_no_damage(saved):
    _, path = saved
    content = torch.load(str(path), weights_only=True)
    content["spec"]["gate"] = dict(type="of_mine")
    torch.save(content, str(path))
    with pytest.raises(ValueError, match="gate.type='of_mine' is not known.*custom_imports"):
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
