"""Classes in another order, and heads of other classes, in whole runs."""

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.engine.train import main, train
from freekd.fileio import load_checkpoint_file

TAP_CLASSES = """
component = algorithm["distiller"]["components"][0]
component.update(student_module="bbox_head.conv_cls", teacher_module="bbox_head.conv_cls")
component["losses"] = [dict(type="ChannelWiseDivergence", name="loss_freekd", tau=1.0)]
algorithm["distiller"]["teacher_checkpoint"] = "{teacher}"
lr_config = None
runner["max_iters"] = 1
"""


@pytest.fixture
def swapped(stage, tmp_path):
    """The stage's teacher with its two classes swapped, which says so."""
    stage(2, "makes_the_teacher")
    content = load_checkpoint_file(stage.folder / "GN" / "teacher.pth")
    state = content["state_dict"]
    for kind in ("weight", "bias"):
        state[f"bbox_head.conv_cls.{kind}"] = state[f"bbox_head.conv_cls.{kind}"].flip(0)
    torch.save(dict(state_dict=state, meta=dict(CLASSES=("light", "dark"))), tmp_path / "s.pth")
    return str(tmp_path / "s.pth")


def test_class_maps_of_another_order(stage, swapped, tmp_path, capsys):
    """By name the loss is the one of the teacher whose classes were not swapped."""

    def first_loss(name, teacher, class_map):
        config = stage(2, f"order_{name}", TAP_CLASSES.replace("{teacher}", teacher))
        cfg = load.load_config(config, {"algorithm.distiller.class_map": class_map})
        cfg.work_dir, cfg.device, cfg.seed = str(tmp_path / name), "cpu", 0
        log = train(cfg, validate=False).outputs["log_vars"]
        return sum(value for key, value in log.items() if key.startswith("distiller."))

    same = first_loss("same", str(stage.folder / "GN" / "teacher.pth"), None)
    assert first_loss("by_name", swapped, "by_name") == pytest.approx(same, rel=1e-5)
    assert first_loss("by_index", swapped, "by_index") != pytest.approx(same, rel=1e-3)
    config = stage(2, "order_refused", TAP_CLASSES.replace("{teacher}", swapped))
    assert main([config, "--device", "cpu", "--work-dir", str(tmp_path / "refused")]) == 1
    error = capsys.readouterr().err
    assert "'bbox_head.conv_cls' is indexed by class" in error
    assert "student has the classes dark, light (2), the teacher light, dark (2), in this" in error
    assert "class_map='by_name' (the key pair.class_map" in error


def test_mmdets_check_of_classes_does_not_meet_the_teacher(stage, tmp_path):
    """A teacher of COCO's classes, a student of its own, and NumClassCheckHook."""
    extra = """
custom_hooks = [dict(type="NumClassCheckHook")]
fcos = dict(fcos, bbox_head=dict(fcos["bbox_head"], num_classes=80))
algorithm["distiller"].update(teacher=fcos, teacher_checkpoint=None)
algorithm["distiller"]["components"][0]["losses"][0]["prompts"] = None
runner = dict(type="EpochBasedRunner", max_epochs=1)
optimizer = dict(type="SGD", lr=0.001)
lr_config = None
"""
    args = [stage(2, "numclass", extra), "--no-validate", "--device", "cpu"]
    assert main([*args, "--work-dir", str(tmp_path)]) == 0
    state = load_checkpoint_file(tmp_path / "latest.pth")["state_dict"]
    assert state["architecture.model.bbox_head.conv_cls.weight"].shape[0] == 2
    assert not any("teacher" in key for key in state)
