"""``--check``: the student file against the stock model, before anything is written."""

import os

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.convert.check import check_student
from freekd.convert.student import main, student_checkpoint


def build(cfg):
    from mmrazor.models.builder import MODELS

    return MODELS.build(cfg)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A stage-2 checkpoint of the tiny pair, and the paths of its config and its student's."""
    from freekd.config import load
    from freekd.engine import build

    distill = tiny.config("check", distill=True)
    model = build.build_model(load.load_config(distill), "det")
    path = tmp_path_factory.mktemp("check") / "epoch_1.pth"
    torch.save(dict(meta={}, state_dict=model.state_dict()), path)
    return path, distill, tiny.config("check_student")


def test_the_model_and_the_distillation_s_own_config_are_taken(trained, tmp_path, capsys):
    path, distill, student = trained
    for number, config in enumerate((distill, student)):
        out = tmp_path / f"{number}.pth"
        assert main([str(path), "--out-path", str(out), "--check", config]) == 0
        assert f"fits the model of {config} exactly" in capsys.readouterr().out
        assert out.is_file()


# name of the one weight changed: what becomes of it, and what the error says
FAULTS = {
    "missing": (lambda state, name: state.pop(name), "1 missing: NAME"),
    "unexpected": (lambda state, name: state.update(extra=state[name]), "1 unexpected: extra"),
    "shape": (
        lambda state, name: state.update({name: torch.zeros(1)}),
        r"1 of another shape: NAME \(1,\), the model has \(8,\)",
    ),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_one_weight_amiss_is_named_and_nothing_written(fault, trained, tmp_path, capsys):
    path, _, student = trained
    change, says = FAULTS[fault]
    name = "neck.fpn_convs.2.conv.bias"
    content = torch.load(path, weights_only=True)
    inside = {
        key[len("architecture.model.") :]: value
        for key, value in content["state_dict"].items()
        if key.startswith("architecture.model.")
    }
    assert inside[name].shape == (8,)
    change(inside, name)
    broken = tmp_path / "broken.pth"
    torch.save(
        dict(state_dict={f"architecture.model.{k}": v for k, v in inside.items()}), str(broken)
    )
    out = tmp_path / "out.pth"
    assert main([str(broken), "--out-path", str(out), "--check", student]) == 1
    error = capsys.readouterr().err
    assert says.replace("NAME", name).replace("\\", "") in error and "Nothing was written" in error
    assert os.listdir(tmp_path) == ["broken.pth"]


def test_a_stock_config_by_its_name(tmp_path):
    """mmdet's own RetinaNet-R18: a student of it fits, one with a class less does not."""
    from freekd.zoo.stock import read_model

    name = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
    cfg = read_model(name, "test")
    cfg.backbone.init_cfg = None
    state = build(cfg).state_dict()
    check_student(state, name, "a.pth")
    cfg.bbox_head.num_classes = 79
    with pytest.raises(RuntimeError) as error:
        check_student(build(cfg).state_dict(), name, "a.pth")
    # 9 anchors times the number of classes
    assert "bbox_head.retina_cls.weight (711, 256, 3, 3), the model has (720, 256, 3, 3)" in str(
        error.value
    )


def test_configs_without_a_student_are_refused(trained, tiny, tmp_path, capsys):
    path, _, student = trained
    stage1 = tmp_path / "stage1.py"
    stage1.write_text("algorithm = dict(type='FrequencyPromptFinetune', architecture=dict())")
    out = str(tmp_path / "out.pth")
    for config, says in (
        (str(stage1), "algorithm.type='FrequencyPromptFinetune', which has no student"),
        (str(tmp_path / "stage2.py"), "stage1.py"),
        ("mmdet::retinanet/retinanet_r19_fpn_1x_coco.py", "retinanet_r18_fpn_1x_coco.py"),
    ):
        assert main([str(path), "--out-path", out, "--check", config]) == 1
        assert says in capsys.readouterr().err
        assert not os.path.exists(out)


def test_versions_of_layouts_stay(trained):
    """``_metadata``, by which torch tells old layouts: BN counts batches since version 2."""
    model = torch.nn.ModuleDict({"architecture": torch.nn.Module()})
    model["architecture"].model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    wrapped = torch.nn.ModuleDict({"module": model})
    weights = student_checkpoint(dict(state_dict=wrapped.state_dict()))["state_dict"]
    assert weights._metadata == model["architecture"].model.state_dict()._metadata
    assert weights._metadata["0"] == {"version": 2}
