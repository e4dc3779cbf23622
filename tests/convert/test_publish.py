"""Publishing: the name's hash is the file's, and nothing of training is left in it."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from freekd.convert.publish import main, publish
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as mmcv writes it, two Adam steps in."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    state = model.state_dict()
    state["ema_0_weight"] = state["0.weight"] + 1
    meta = dict(
        CLASSES=("dark", "light"), PALETTE=[[0, 0, 0], [255, 0, 0]], epoch=2, iter=8,
        seed=np.int64(3), config="lr = 1", env_info="host", hook_msgs=dict(best=np.float64(0.5)),
    )  # fmt: skip
    path = tmp_path / "in" / "latest.pth"
    path.parent.mkdir()
    torch.save(dict(meta=meta, state_dict=state, optimizer=optimizer.state_dict()), str(path))
    return model, path


def hub_hash(name):
    """The hash that torch.hub reads in a file's name."""
    return torch.hub.HASH_REGEX.search(name).group(1)


@pytest.mark.parametrize("out", ["student", "student.pth", "retinanet_r18-digits.pth"])
def test_a_model(trained, tmp_path, capsys, out):
    model, path = trained
    assert main([str(path), str(tmp_path / out)]) == 0
    (name,) = (name for name in os.listdir(tmp_path) if name.endswith(".pth"))
    stem = out[:-4] if out.endswith(".pth") else out
    assert re.fullmatch(re.escape(stem) + r"-[0-9a-f]{8}\.pth", name)
    digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert digest.startswith(hub_hash(name)) and len(hub_hash(name)) == 8
    content = torch.load(str(tmp_path / name), weights_only=True)
    assert set(content) == {"meta", "state_dict"}
    assert content["meta"] == dict(
        CLASSES=("dark", "light"), PALETTE=[[0, 0, 0], [255, 0, 0]], epoch=2, iter=8, seed=3
    )
    model.load_state_dict(content["state_dict"], strict=True)  # ema_* left out
    assert content["state_dict"]._metadata == model.state_dict()._metadata
    said = capsys.readouterr().out
    for word in (digest, "optimizer", "meta.config", "meta.env_info", "state_dict.ema_0_weight"):
        assert word in said


def test_download_by_torch_hub(trained, tmp_path):
    _, path = trained
    done = publish(str(path), str(tmp_path / "student"))
    state = torch.hub.load_state_dict_from_url(
        done.path.as_uri(), model_dir=str(tmp_path / "cache"), check_hash=True, progress=False
    )
    assert set(state) == {"meta", "state_dict"}
    os.rename(done.path, tmp_path / "student-00000000.pth")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        torch.hub.load_state_dict_from_url(
            (tmp_path / "student-00000000.pth").as_uri(), model_dir=str(tmp_path / "cache"),
            check_hash=True, progress=False,
        )  # fmt: skip


def test_the_same_model_gives_the_same_file_which_stays(trained, tmp_path, capsys):
    _, path = trained
    one = publish(str(path), str(tmp_path / "a"))
    two = publish(str(path), str(tmp_path / "b.pth"))
    assert one.sha256 == two.sha256
    stamp = one.path.stat().st_mtime_ns
    assert main([str(path), str(tmp_path / "a")]) == 1
    assert f"{one.path} exists" in capsys.readouterr().err
    assert one.path.stat().st_mtime_ns == stamp
    # published again, nothing is left to strip
    again = publish(str(one.path), str(tmp_path / "c"))
    assert again.sha256 == one.sha256 and again.left_out == []


def test_a_prompt_file_stays_whole(tmp_path):
    prompts = FrequencyPrompts(PromptSpec.build(4, 3))
    save_prompts(prompts, str(tmp_path / "prompts.pth"), {"teacher_fingerprint": "ab"})
    done = publish(str(tmp_path / "prompts.pth"), str(tmp_path / "retinanet_prompts.pth"))
    loaded = load_prompts(str(done.path), prompts.spec)
    assert loaded.info == {"teacher_fingerprint": "ab"} and done.left_out == []
    for name, value in prompts.state_dict().items():
        assert torch.equal(loaded.prompts.state_dict()[name], value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"state_dict": {"architecture.model.a": torch.zeros(1)}}, "convert_kd_ckpt_to_student.py"),
        ({"module.architecture.model.a": torch.zeros(1)}, "convert_kd_ckpt_to_student.py"),
        (
            {"state_dict": {"architecture.model.a": torch.zeros(1),
                            "architecture.prompts.prompts.0": torch.zeros(1)}},
            "extract_prompts.py",
        ),
        ({"state_dict": {}}, "found a dict without weights"),
        ([1, 2], "found a list without weights"),
    ],
)  # fmt: skip
def test_what_cannot_be_published(content, says, tmp_path, capsys):
    torch.save(content, str(tmp_path / "a.pth"))
    assert main([str(tmp_path / "a.pth"), str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["a.pth"]


def test_names_that_torch_hub_would_misread(trained, tmp_path, capsys):
    _, path = trained
    for name in ("student-2.0.pth", "student-abc.v1"):
        assert main([str(path), str(tmp_path / name)]) == 1
        assert "torch.hub would take" in capsys.readouterr().err
    assert main([str(path), str(tmp_path)]) == 1
    assert "came a folder" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_a_disk_that_writes_something_else(trained, tmp_path, monkeypatch):
    _, path = trained
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: write(self, data[:-1]))
    with pytest.raises(RuntimeError, match="the disk or its file system is at fault"):
        publish(str(path), str(tmp_path / "student"))
    assert os.listdir(tmp_path) == ["in"]
