"""The student out of a distillation checkpoint: equal outputs in stock mmdet, without freekd."""

import json

import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.convert.output import ConversionError
from freekd.convert.student import convert_student, main
from freekd.engine import build

# Runs with an import hook that refuses freekd, as on a machine that does not have it.
STOCK = """
import json, sys
class NoFreeKD:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("freekd", "mmrazor"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, NoFreeKD())
import torch
torch.set_num_threads(1)
import mmcv
from mmdet.models import build_detector
config, checkpoint, inputs, outputs = sys.argv[1:]
model = build_detector(mmcv.Config.fromfile(config).model)
content = torch.load(checkpoint, weights_only=True)
model.load_state_dict(content["state_dict"], strict=True)
found = mmcv.runner.load_checkpoint(model, checkpoint, strict=True)
assert not any(name.split(".")[0] == "freekd" for name in sys.modules)
model.eval()
with torch.no_grad():
    torch.save(model.forward_dummy(torch.load(inputs, weights_only=True)), outputs)
print(json.dumps(found["meta"]))
"""


@pytest.fixture(scope="module")
def distilled(tiny, tmp_path_factory):
    """A distillation model with random weights and norm statistics, and its checkpoint."""
    from mmcv.runner import save_checkpoint

    torch.manual_seed(1)
    cfg = load.load_config(tiny.config("convert", distill=True))
    model = build.build_model(cfg, "det")
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) * (1.0 if "running" in name else 0.2))
    path = tmp_path_factory.mktemp("distilled") / "epoch_2.pth"
    optimizer = torch.optim.AdamW(model.architecture.parameters())
    meta = dict(
        CLASSES=("dark", "light"), PALETTE=np.array([[1, 2, 3], [4, 5, 6]]),
        epoch=2, iter=8, seed=np.int64(3), config="raise SystemExit",
        hook_msgs=dict(best_score=np.float64(0.5)),
    )  # fmt: skip
    save_checkpoint(model, str(path), optimizer=optimizer, meta=meta)
    return model, path


def test_student_gives_identical_outputs_in_stock_mmdet(tiny, distilled, tmp_path, run_python):
    model, path = distilled
    out = tmp_path / "student.pth"
    assert main([str(path), "--out-path", str(out)]) == 0
    content = torch.load(str(out), weights_only=True)
    assert set(content) == {"meta", "state_dict"}
    assert content["meta"]["CLASSES"] == ("dark", "light")
    assert content["meta"]["PALETTE"] == [[1, 2, 3], [4, 5, 6]]
    assert type(content["meta"]["seed"]) is int and "config" not in content["meta"]
    assert all(type(value) is torch.Tensor for value in content["state_dict"].values())
    assert out.stat().st_size < 0.52 * path.stat().st_size  # the teacher is left behind

    images = torch.rand(2, 3, 64, 64)
    torch.save(images, tmp_path / "inputs.pth")
    (tmp_path / "stock.py").write_text(STOCK)
    done = run_python(
        str(tmp_path / "stock.py"), tiny.config("stock"), str(out),
        str(tmp_path / "inputs.pth"), str(tmp_path / "outputs.pth"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["epoch"] == 2
    model.architecture.model.eval()
    with torch.no_grad():
        expected = model.architecture.model.forward_dummy(images)
    found = torch.load(str(tmp_path / "outputs.pth"), weights_only=True)
    for one, two in zip(expected, found):
        assert len(one) == len(two) == 3
        assert all(torch.equal(a, b) for a, b in zip(one, two))


def test_nothing_is_overwritten_unless_asked(distilled, tmp_path, capsys):
    _, path = distilled
    out = tmp_path / "student.pth"
    out.write_text("mine")
    with pytest.raises(ConversionError, match="exists. Give another name, or add --force"):
        convert_student(str(path), str(out))
    assert main([str(path), "--out-path", str(out)]) == 1
    assert "error: --out-path" in capsys.readouterr().err and out.read_text() == "mine"
    assert main([str(path), "--out-path", str(out), "--force"]) == 0
    assert len(torch.load(str(out), weights_only=True)["state_dict"]) > 100
    with pytest.raises(ConversionError, match="is the checkpoint itself"):
        convert_student(str(path), str(path), force=True)
    with pytest.raises(ConversionError, match="it is a folder"):
        convert_student(str(path), str(tmp_path), force=True)


@pytest.mark.parametrize(
    "content,says",
    [
        ({"state_dict": {"backbone.conv1.weight": torch.zeros(1)}}, "found backbone.conv1.weight"),
        (
            {"state_dict": {"architecture.model.a": torch.zeros(1),
                            "architecture.prompts.levels.0": torch.zeros(1)}},
            "checkpoint of stage 1.*prompts.pth beside it",
        ),
        ({"state_dict": {}}, "found a dict without weights"),
        ([1, 2], "found a list without weights"),
    ],
    ids=["plain", "stage 1", "empty", "list"],
)  # fmt: skip
def test_what_is_no_distillation_is_refused(tmp_path, content, says):
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with pytest.raises(ConversionError, match=says):
        convert_student(str(path), str(tmp_path / "out.pth"))
    assert not (tmp_path / "out.pth").exists()


def test_missing_and_truncated_checkpoints_are_refused(distilled, tmp_path, capsys):
    assert main([str(tmp_path / "no.pth"), "--out-path", str(tmp_path / "out.pth")]) == 1
    assert "error: Expected a checkpoint at" in capsys.readouterr().err
    (tmp_path / "half.pth").write_bytes(distilled[1].read_bytes()[:5000])
    assert main([str(tmp_path / "half.pth"), "--out-path", str(tmp_path / "out.pth")]) == 1
    assert "is truncated" in capsys.readouterr().err
