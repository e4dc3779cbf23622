"""ONNX export by the stock tool: compared with torch here, and torch put back as it was.

The exporting tests need onnx and onnxruntime, which nothing else of freekd does:
``python -m pip install -c requirements/pinned.txt onnx onnxruntime``.
"""

import importlib.util
import os

import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.compat.onnx import stock_export
from freekd.convert.onnx import main
from freekd.tasks.base import TaskError
from freekd.tasks.det import compare_detections
from freekd.tasks.seg import compare_pixels

INSTALLED = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not INSTALLED, reason="needs onnx and onnxruntime")


@pytest.fixture(scope="module")
def student(tiny, tmp_path_factory):
    """The tiny detector, of random weights that find something, and its config and file."""
    from freekd.config import load
    from freekd.engine import build

    config = tiny.config("onnx")
    torch.manual_seed(0)
    model = build.build_model(load.load_config(config), "det")
    model.init_weights()
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    torch.nn.init.constant_(model.bbox_head.retina_cls.bias, -1.0)
    path = tmp_path_factory.mktemp("onnx") / "student.pth"
    torch.save(dict(meta=dict(CLASSES=("dark", "light")), state_dict=model.state_dict()), path)
    return config, str(path)


@needs_onnx
def test_a_detector_of_any_size(student, tmp_path, capfd):
    out = tmp_path / "student.onnx"
    code = main([*student, "--out-path", str(out), "--shape", "64", "64", "--dynamic"])
    said = capfd.readouterr()
    assert code == 0, said.err
    # max_per_img=20 of the config: so many at both sizes, all equal in torch and onnxruntime
    assert said.out.count("20 of 20 detections agree") == 2
    assert "64x64: " in said.out and "96x96: " in said.out
    import onnx

    model = onnx.load(str(out))
    assert [node.op_type for node in model.graph.node].count("NonMaxSuppression") == 1
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["dets", "labels"]


@needs_onnx
def test_another_models_weights_and_a_result_that_differs(student, tiny, tmp_path, capsys,
                                                          monkeypatch):  # fmt: skip
    config, path = student
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["neck.fpn_convs.0.conv.bias"]
    torch.save(content, str(tmp_path / "other.pth"))
    out = str(tmp_path / "out.onnx")
    assert main([config, str(tmp_path / "other.pth"), "--out-path", out]) == 1
    assert "1 missing: neck.fpn_convs.0.conv.bias" in capsys.readouterr().err

    import onnxruntime

    class Shifted(onnxruntime.InferenceSession):
        def run(self, *args, **kwargs):
            dets, labels = super().run(*args, **kwargs)
            return [dets + np.float32(0.02), labels]  # pixels: twice what is tolerated

    monkeypatch.setattr(onnxruntime, "InferenceSession", Shifted)
    assert main([config, path, "--out-path", out, "--shape", "64", "64"]) == 1
    assert "differ at 64x64: 0 of 20 detections agree" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["other.pth"]


def test_without_the_packages(student, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if "onnx" in name else find(name, *a)
    )
    assert main([*student, "--out-path", str(tmp_path / "a.onnx")]) == 1
    assert "pip install -c requirements/pinned.txt onnx onnxruntime" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_torch_and_mmdet_are_as_before():
    import mmcv.onnx
    from mmdet.core.export.onnx_helper import DummyONNXNMSop

    def state():
        return (
            torch.onnx.export,
            vars(DummyONNXNMSop)["forward"],
            mmcv.onnx.register_extra_symbolics,
            mmcv.onnx.symbolic.register_extra_symbolics,
        )

    before = state()
    with pytest.raises(KeyError), stock_export():
        assert all(now is not then for now, then in zip(state()[:2], before))
        raise KeyError
    assert all(now is then for now, then in zip(state(), before))


def test_detections_are_matched_once_each_and_by_label():
    one = np.array([[0, 0, 10, 10, 0.9, 1], [5, 5, 9, 9, 0.8, 0]], dtype=float)
    assert compare_detections(one, one[::-1])[1:3] == (2, 2)
    close = one + [0.005, 0, 0, 0, 0.0005, 0]
    found = compare_detections(one, close)
    assert found.equal == 2 and "box 5.0e-03 pixels, of a score 5.0e-04" in str(found)
    assert compare_detections(one, one + [0.02, 0, 0, 0, 0, 0]).equal == 0
    assert compare_detections(one, one + [0, 0, 0, 0, 0.002, 0]).equal == 0
    assert compare_detections(one, one + [0, 0, 0, 0, 0, 1]).equal == 0
    assert compare_detections(one[[0, 0]], one)[1:3] == (2, 1)  # the same one cannot serve twice
    assert compare_detections(one[:1], one)[1:3] == (2, 1)  # one too many counts
    empty = np.zeros((0, 6))
    assert compare_detections(empty, one)[1:3] == (2, 0)
    assert compare_detections(one, empty)[1:3] == (2, 0)
    assert "nothing compared" in str(compare_detections(empty, empty))


def test_pixels():
    one = np.arange(6).reshape(2, 3)
    assert str(compare_pixels(one, one)) == "6 of 6 pixels agree"
    assert compare_pixels(one, one.clip(0, 4)).equal == 5
    with pytest.raises(TaskError, match=r"\(2, 3\), onnxruntime \(3, 2\)"):
        compare_pixels(one, one.T)
