"""``pair.teacher=None``: what a pair then is, and what it may not say."""

from pathlib import Path

import pytest

from freekd.config.errors import ConfigError
from freekd.config.load import load_config, read
from freekd.engine.print_config import main as print_config

ROOT = Path(__file__).resolve().parents[2]
RESNET = dict(
    type="mmcls.ImageClassifier",
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=3,
        in_channels=32,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
PAIR = dict(teacher=None, student=RESNET, losses=dict(uskd=dict(beta=0.0)))


def write(tmp_path, **pair):
    path = tmp_path / "config.py"
    path.write_text(f"pair = {dict(PAIR, **pair)!r}\n")
    return str(path)


def test_what_it_is_spelled_out(tmp_path):
    algorithm = load_config(write(tmp_path)).algorithm
    assert algorithm.distiller.teacher is None
    (component,) = algorithm.distiller.components
    assert component == dict(
        key="pair.losses.uskd",
        student_module=dict(logits="head.fc", middle="backbone.layer3"),
        losses=[
            dict(
                type="USKDLoss", name="loss_uskd", beta=0.0,
                student_channels=dict(logits=3, middle=16),
            )
        ],
    )  # fmt: skip


def test_the_key_may_be_left_out(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"pair = {dict(student=RESNET, losses=PAIR['losses'])!r}\n")
    assert load_config(str(path)).algorithm.distiller.teacher is None


def test_print_config(tmp_path, capsys):
    """What it prints can be read again, and is the same."""
    assert print_config([write(tmp_path)]) == 0
    (tmp_path / "again.py").write_text(capsys.readouterr().out)
    assert load_config(str(tmp_path / "again.py")).algorithm.distiller.teacher is None


def test_beside_a_method_that_has_a_teacher(tmp_path):
    """Its component has both sides, and is the same as without this one."""
    losses = dict(kd=dict(tau=2.0))
    teacher = dict(teacher=RESNET, teacher_checkpoint="t.pth", class_map="by_name")
    alone = load_config(write(tmp_path, losses=losses, **teacher)).algorithm
    losses = dict(uskd=dict(beta=0.0), **losses)
    both = load_config(write(tmp_path, losses=losses, **teacher)).algorithm
    assert both.distiller.components[1:] == alone.distiller.components
    assert "teacher_module" not in both.distiller.components[0]
    assert both.distiller.teacher == alone.distiller.teacher is not None


def test_taps_of_the_student_alone(tmp_path):
    module = dict(logits="head.fc", middle="backbone.layer2")
    cfg = load_config(write(tmp_path, losses=dict(uskd=dict(module=module))))
    (component,) = cfg.algorithm.distiller.components
    assert component.student_module == module
    assert component.losses[0].student_channels == dict(logits=3, middle=8)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (dict(losses=dict(kd={})), ["pair.teacher: expected a model", "pair.losses.kd needs",
                                    "pair.losses.kd=None"]),
        (dict(losses=dict(uskd={}, kd={}, mgd=dict(module="backbone"))),
         ["pair.losses.kd, pair.losses.mgd need a teacher"]),
        (dict(losses=dict(mine=dict(type="ChannelWiseDivergence", module="head.fc"))),
         ["pair.losses.mine needs a teacher"]),
        (dict(teacher_checkpoint="t.pth"), ["pair.teacher_checkpoint='t.pth'", "pair.teacher is",
                                            "pair.teacher_checkpoint=None"]),
        (dict(inherit=["head"]), ["pair.inherit=['head']", "pair.teacher is None"]),
        (dict(teacher_autocast="bfloat16"), ["pair.teacher_autocast='bfloat16'"]),
        (dict(class_map="by_name"), ["pair.class_map='by_name'"]),
        (dict(min_share=0.5), ["pair.min_share=0.5", "pair.min_share=0.95"]),
        (dict(teacher=3), ["pair.teacher: expected a config path"]),
        (dict(student=None), ["the keys ['student'] are missing"]),
        (dict(module="backbone"), ["pair.module='backbone'", "['uskd']"]),
        (dict(losses=dict(uskd=dict(module="head.fc"))),
         ["pair.losses.uskd.module", "takes named taps", "'head.fc'"]),
        (dict(losses=dict(uskd=dict(module=dict(student=dict(logits="head.fc", middle="neck"),
                                                teacher=dict(logits="head.fc", middle="neck"))))),
         ["pair.losses.uskd.module", "takes no teacher", "Write module={'logits'"]),
        (dict(losses=dict(uskd=dict(module=dict(logits="head.fc", middle="backbone.layer9")))),
         ["pair.losses.uskd.module (student), tap 'middle'", "backbone.layer9", "nearest"]),
        (dict(losses=dict(uskd=dict(rank_with="log"))), ["pair.losses.uskd.rank_with='log'"]),
        (dict(losses=dict(uskd=dict(align_module=dict(type="conv2d", student_channels=1,
                                                      teacher_channels=1)))),
         ["pair.losses.uskd.align_module", "Remove the key"]),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, pair, words):
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, **pair))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_it_is_refused_before_any_model_is_built(tmp_path):
    """By the config's own text, where the entries are methods by name."""
    with pytest.raises(ConfigError, match="pair.losses.kd needs a teacher, got None"):
        read(write(tmp_path, losses=dict(kd={})))


def test_it_is_for_classifiers(tmp_path):
    student = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
    with pytest.raises(ConfigError, match=r"pair.losses.uskd: USKD is made for the tasks cls"):
        load_config(write(tmp_path, student=student))
