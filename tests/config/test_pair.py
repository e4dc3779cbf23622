"""``pair`` and ``prompt``, spelled out. Oracle: the algorithm written by hand; stock mmdet."""

import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import mmcv
import pytest
import torch

from freekd.config import fields, load, maps, pair, prompt
from freekd.config.errors import ConfigError
from freekd.engine import build, check_data, print_config
from freekd.gates import GATES
from freekd.zoo import download

ROOT = Path(__file__).resolve().parents[2]
TEACHER = "mmdet::faster_rcnn/faster_rcnn_r101_fpn_2x_coco.py"
STUDENT = "mmdet::faster_rcnn/faster_rcnn_r50_fpn_2x_coco.py"
PAIR = dict(
    teacher=TEACHER,
    student=STUDENT,
    teacher_checkpoint="t.pth",
    losses=dict(freekd=dict(loss_weight=2)),
)


def load_pair(tmp_path, options=None, **keys):
    path = tmp_path / "config.py"
    path.write_text("\n".join(f"{name} = {value!r}" for name, value in keys.items()) + "\n")
    return load.load_config(str(path), options)


def with_losses(**losses):
    return dict(PAIR, losses=losses)


def test_a_pair_is_what_one_would_write_by_hand(tmp_path):
    pair = dict(
        PAIR,
        losses=dict(
            freekd=dict(prompts="p.pth", loss_weight=2),
            mimic=dict(loss_weight=3),
            regression=dict(
                module=dict(
                    student="roi_head.bbox_head.fc_reg", teacher="roi_head.bbox_head.0.fc_reg"
                )
            ),
            rpn=dict(type="regression", module="rpn_head.rpn_reg", beta=0.1, loss_weight=0.5),
        ),
        inherit=["neck"],
    )
    maps = dict(student_channels=256, teacher_channels=256, num_levels=5)
    expected = dict(
        type="FreeKDDistill",
        architecture=dict(type="MMDetArchitecture", model=STUDENT),
        inherit=["neck"],
        distiller=dict(
            type="FreeKDDistiller", teacher=TEACHER, teacher_checkpoint="t.pth", min_share=0.95,
            teacher_autocast=None, class_map=None,
            components=[
                dict(
                    key="pair.losses.freekd",
                    student_module="neck", teacher_module="neck", resize=False,
                    losses=[dict(type="FreeKDLoss", name="loss_freekd", prompts="p.pth",
                                 loss_weight=2, **maps)],
                ),
                dict(
                    key="pair.losses.mimic",
                    student_module="neck", teacher_module="neck", resize=False,
                    losses=[dict(type="FeatureMSELoss", name="loss_mimic", loss_weight=3, **maps)],
                ),
                dict(
                    key="pair.losses.regression",
                    student_module="roi_head.bbox_head.fc_reg",
                    teacher_module="roi_head.bbox_head.0.fc_reg",
                    losses=[dict(type="mmdet.SmoothL1Loss", name="loss_regression")],
                ),
                dict(
                    key="pair.losses.rpn",
                    student_module="rpn_head.rpn_reg", teacher_module="rpn_head.rpn_reg",
                    losses=[dict(type="mmdet.SmoothL1Loss", name="loss_rpn", beta=0.1,
                                 loss_weight=0.5)],
                ),
            ],
        ),
    )  # fmt: skip
    assert load_pair(tmp_path, pair=pair).algorithm == expected


def test_a_prompt_is_what_one_would_write_by_hand(tmp_path):
    seg = "mmseg::pspnet/pspnet_r101-d8_512x1024_40k_cityscapes.py"
    cfg = load_pair(
        tmp_path, prompt=dict(teacher=seg, module="decode_head.conv_seg", num_prompts=6)
    )
    assert cfg.algorithm == dict(
        type="FrequencyPromptFinetune",
        architecture=dict(
            type="FrequencyPromptTeacher", model=seg, checkpoint=None, channels=19, num_levels=1,
            module="decode_head.conv_seg", num_prompts=6, transform="haar", granularity="band",
            gate="position", min_share=0.95, without_losses=(), form="signed", fill="zero",
        ),
        dissimilarity="jaccard", dissimilarity_weight=1.0, dissimilarity_reduction="sum",
        sparsity=0.0, class_map=None,
    )  # fmt: skip


def test_segmentors_get_their_architecture(tmp_path):
    seg = "mmseg::pspnet/pspnet_r18-d8_512x1024_80k_cityscapes.py"
    pair = dict(PAIR, teacher=seg, student=seg, module="decode_head.conv_seg")
    algorithm = load_pair(tmp_path, pair=pair).algorithm
    assert algorithm.architecture.type == "MMSegArchitecture"
    assert algorithm.distiller.components[0].losses[0].teacher_channels == 19


# one value of another kind for each key; what else may be typed is in test_fuzz_config.py
WRONG = dict(
    teacher=3, student=[STUDENT], teacher_checkpoint=True, losses=[dict(loss_weight=1)],
    module=["neck"], inherit="neck", channels=2.5, student_channels=[256, "256"], num_levels=0,
    resize=1, levels=dict(teacher=[2, 1]), min_share=1.5, teacher_autocast=16, class_map=1,
    cache_embeddings=7,
)  # fmt: skip
WRONG_PROMPT = dict(
    teacher={}, teacher_checkpoint="", module=dict(student="a", teacher="b"), num_prompts=2.0,
    transform=3, granularity=None, gate=False, dissimilarity=1, dissimilarity_weight=-0.1,
    channels=0, num_levels=65, min_share=float("inf"), class_map=[], without_losses="mask_head",
    form=["energy"], dissimilarity_reduction="max", sparsity=-1, fill=0, levels=dict(teacher=[1]),
)  # fmt: skip


@pytest.mark.parametrize(
    "short, wrong, kind, checks",
    [
        ("pair", WRONG, pair.Pair, pair.PAIR_CHECKS),
        ("prompt", WRONG_PROMPT, prompt.Prompt, prompt.PROMPT_CHECKS),
    ],
)
def test_a_value_of_another_kind(tmp_path, short, wrong, kind, checks):
    sound = PAIR if short == "pair" else dict(teacher=TEACHER)
    assert set(wrong) == set(kind._fields) <= set(checks)
    for name, value in wrong.items():
        path = tmp_path / "config.py"
        path.write_text(f"inf = float('inf')\n{short} = {dict(sound, **{name: value})!r}\n")
        with pytest.raises(ConfigError) as error:
            load.load_config(str(path))
        words = [f"{short}.{name}", "got", "" if "[" in str(error.value) else repr(value)]
        assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    "value",
    ["it's.pth", "a\\nb.pth", "a\nb.pth", "\ud800", int, len, {"class": 1}, {1.5: 1}, 2**63],
)
def test_what_a_run_could_not_write_down(value):
    """mmcv puts a text between quotation marks as it is, a key of a dict before a ``=``."""
    with pytest.raises(ConfigError, match=r"^pair.student.backbone.x: expected"):
        fields.plain(dict(config=STUDENT, backbone=dict(x=value)), "pair.student")


def test_what_a_run_can_write_down(tmp_path):
    values = ["a b", 'say "x"', "C:/d\\d", 1.5, True, None, (1, 2), [dict(a=1), {0: 2}], {"a b": 1}]
    fields.plain(values, "x")
    (tmp_path / "a.py").write_text(mmcv.Config(dict(x=dict(enumerate(values)))).pretty_text)
    assert list(mmcv.Config.fromfile(str(tmp_path / "a.py")).x.values()) == values


@pytest.mark.parametrize(
    "losses, words",
    [
        (dict(freekd=3), ["pair.losses.freekd", "a dict", "3"]),
        (dict(frekd={}), ["pair.losses.frekd", "no method 'frekd'", "nearest: freekd", "mimic"]),
        (dict(x=dict(type="FreKDLoss")), ["pair.losses.x.type", "FreeKDLoss"]),
        (dict(x=dict(type="frekd")), ["pair.losses.x.type", "freekd"]),
        (dict(x=dict(type=3)), ["pair.losses.x.type", "string"]),
        (dict(x=dict(type="mmdet.SmothL1Loss")), ["nearest: mmdet.SmoothL1Loss"]),
        (dict(x=dict(type="L1Loss")), ["pair.losses.x.type='L1Loss'", "nearest: mmdet.L1Loss"]),
        (dict(x=dict(type="mmdet.L1Loss", beta=1)), ["mmdet.L1Loss has unknown keys ['beta']"]),
        (dict(freekd=dict(loss_weight=-1)), ["pair.losses.freekd.loss_weight", "at least 0"]),
        (dict(freekd=dict(loss_weight=True)), ["pair.losses.freekd.loss_weight", "number", "True"]),
        (dict(freekd=dict(loss_weight="3")), ["pair.losses.freekd.loss_weight", "number", "'3'"]),
        (dict(freekd=dict(los_weight=3)), ["pair.losses.freekd", "los_weight -> loss_weight?"]),
        (dict(freekd=dict(wavelet="db2")), ["transform=dict(type='db2', levels=3, mode='zero')"]),
        (
            dict(freekd=dict(transform=dict(type="haarr"))),
            ["pair.losses.freekd.transform.type='haarr'", "nearest: 'haar'"],
        ),
        (dict(freekd=dict(gate="positoin")), ["losses.freekd.gate.type", "nearest: 'position'"]),
        (dict(freekd=dict(gate=dict(type="position", x=1))), ["pair.losses.freekd.gate", "'x'"]),
        (dict(freekd=dict(gate="position")), ["freekd.gate='position' is of a prompt file"]),
        (dict(freekd=dict(num_prompts=6)), ["freekd.num_prompts=6 is of a prompt file"]),
        (
            dict(mimic=dict(type="ChannelWiseDivergence")),
            ["pair.losses.mimic.type", "name of a method", "my_mimic=dict(type="],
        ),
        (dict(cwd=dict(type="freekd")), ["pair.losses.cwd.type='freekd'", "name of a method, CWD"]),
        (dict(x=dict(type="KDLoss")), ["pair.losses.x", "made for the tasks cls"]),
        (dict(mimic=dict(bands="all")), ["pair.losses.mimic", "['bands']"]),
        (dict(freekd=dict(resize=1)), ["pair.losses.freekd.resize", "True or False"]),
        (dict(freekd=dict(module=3)), ["pair.losses.freekd.module", "module path"]),
        (dict(freekd=dict(module=dict(student="neck"))), ["both 'student' and 'teacher'"]),
        (
            dict(freekd=dict(module=dict(a="neck", b="backbone"))),
            ["pair.losses.freekd.module", "compares what one module gives", "'backbone'"],
        ),
        (
            dict(freekd=dict(module=dict(student=dict(a="neck"), teacher=dict(b="neck")))),
            ["the same named taps"],
        ),
        (dict(freekd=dict(channels=0)), ["pair.losses.freekd.channels", "32768"]),
        (dict(regression={}), ["pair.losses.regression.module", "Add it"]),
        (dict(regression=dict(module="a", loss_weight=[1])), ["regression.loss_weight", "number"]),
        (dict(regression=dict(module="a", reduction=1)), ["regression.reduction", "'mean'"]),
        (dict(regression=dict(module="a", beta=0)), ["regression.beta", "more than 0"]),
        (dict(freekd=dict(bands="hihg")), ["pair.losses.freekd.bands='hihg'", "'high'"]),
        (dict(freekd=dict(normalize="batch")), ["pair.losses.freekd.normalize='batch'"]),
        (dict(freekd=dict(num_prompts=True)), ["pair.losses.freekd.num_prompts", "integer"]),
        (dict(freekd=dict(prompts=5)), ["pair.losses.freekd.prompts", "path"]),
        (dict(freekd=dict(transform=dict(levels=2))), ["freekd.transform", "such as 'haar'"]),
        (dict(freekd=dict(wavelet="db2")), ["mode='zero') instead."]),
        (dict(freekd=dict(chanels=8)), ["chanels -> channels"]),
        (dict(mimic=dict(align="conv")), ["pair.losses.mimic.align='conv'"]),
        (dict(cwd=dict(align_module=dict(type="conv2d"))), ["cwd.align_module", "'linear'"]),
        (
            dict(
                cwd=dict(align_module=dict(type="conv2d", student_channels="8", teacher_channels=8))
            ),
            ["pair.losses.cwd.align_module.student_channels", "'8'"],
        ),
        (
            dict(
                mimic=dict(align_module=dict(type="conv2d", student_channels=8, teacher_channels=8))
            ),
            ["pair.losses.mimic.align_module", "FeatureMSELoss does", "Remove the key."],
        ),
        (dict(kd=dict(alpha=0.5)), ["pair.losses.kd", "made for the tasks cls", "det"]),
        (dict(freekd=None), ["pair.losses", "at least one entry", "The methods are"]),
        ({}, ["pair.losses", "at least one entry"]),
    ],
)
def test_losses_that_cannot_be(tmp_path, losses, words):
    with pytest.raises(ConfigError) as error:
        load_pair(tmp_path, pair=with_losses(**losses))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    "old, new",
    [
        (dict(freekd=dict(loss_weight=2)), ["losses=dict(freekd=dict(loss_weight=2))"]),
        (
            dict(prompts="p.pth", freekd=dict(loss_weight=2), mse=dict(loss_weight=3)),
            ["freekd=dict(prompts='p.pth', loss_weight=2), mimic=dict(loss_weight=3)"],
        ),
        (dict(prompts=None, freekd=None), ["losses=dict(freekd=None)"]),
        (
            dict(freekd=dict(wavelet="db2", dwt_levels=2)),
            ["freekd=dict(transform=dict(type='db2', levels=2, mode='zero'))"],
        ),
        (
            dict(regression=[dict(module="a", beta=1), dict(student="b", teacher="c")]),
            [
                "regression=dict(module='a', beta=1)",
                "regression_1=dict(type='regression', module=dict(student='b', teacher='c'))",
            ],
        ),
        (
            dict(
                components=[
                    dict(
                        student_module="neck",
                        teacher_module="neck",
                        losses=[dict(type="ChannelWiseDivergence", name="loss_cwd", tau=1)],
                    )
                ]
            ),
            ["cwd=dict(type='ChannelWiseDivergence', module='neck', tau=1)"],
        ),
        (dict(regression=3, components="a"), ["['regression', 'components']", "Remove them"]),
        (
            dict(prompts=None, freekd=dict(type="ChannelWiseDivergence", tau=1)),
            ["losses=dict(cwd=dict(tau=1))"],
        ),
        (
            dict(losses=dict(freekd={}), freekd=dict(type="ChannelWiseDivergence", tau=1)),
            ["losses=dict(cwd=dict(tau=1), freekd=None)"],
        ),
        (
            dict(freekd=dict(type="mmdet.L1Loss"), module="backbone.layer2"),
            ["freekd_term=dict(type='mmdet.L1Loss', module='backbone.layer2')"],
        ),
        (dict(regression=dict(module="a")), ["losses=dict(regression=dict(module='a'))"]),
        (
            dict(
                components=[
                    dict(
                        student_module="neck",
                        teacher_module="neck",
                        losses=[dict(type="FreeKDLoss", name="loss-b", dwt_levels=2)],
                    )
                ]
            ),
            ["loss_b=dict(type='FreeKDLoss', module='neck', transform=dict(type='haar', levels=2"],
        ),
    ],
)
def test_keys_of_version_01_say_their_new_spelling(tmp_path, old, new):
    with pytest.raises(ConfigError) as error:
        load_pair(tmp_path, pair={**PAIR, "losses": None, **old})
    assert all(word in str(error.value) for word in new), str(error.value)


def test_resize_of_the_pair_is_for_its_maps(tmp_path):
    """What a head's last layer gives is never resized by it."""
    losses = dict(mimic={}, regression=dict(module="rpn_head.rpn_reg"))
    pair = dict(with_losses(**losses), resize=True)
    components = load_pair(tmp_path, pair=pair).algorithm.distiller.components
    assert [component.get("resize") for component in components] == [True, None]


@pytest.mark.parametrize(
    ("key", "value", "default"),
    [
        ("module", "backbone", None), ("resize", True, False), ("channels", 8, None),
        ("student_channels", 8, None), ("num_levels", 5, None),
    ],
)  # fmt: skip
def test_a_key_of_the_pair_that_no_entry_uses(tmp_path, key, value, default):
    entries = dict(iou_aware={}, regression=dict(module="rpn_head.rpn_reg", resize=False))
    with pytest.raises(ConfigError) as error:
        load_pair(tmp_path, pair=dict(with_losses(**entries), **{key: value}))
    said = str(error.value)
    assert f"pair.{key}={value!r}: " in said and "['iou_aware', 'regression']" in said
    assert said.endswith(f"Remove the key (of a base config: pair.{key}={default}).")
    load_pair(tmp_path, pair=dict(with_losses(**entries), **{key: default}))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            dict(gate=dict(type="cbam", kernel_size=4)),
            "prompt.gate.kernel_size must be odd, got 4.",
        ),
        (dict(gate=dict(type="nonlocal", grid=0)), "prompt.gate.grid must be an integer from 1"),
        (dict(module="backbone"), "prompt.gate='position' relates neighbouring pyramid levels"),
        (dict(granularity="bands"), "prompt.granularity='bands' is not known"),
        (dict(channels=[8, 8], num_levels=3), "prompt.channels names 2 levels"),
    ],
)
def test_what_prompts_cannot_be(tmp_path, keys, words):
    """Known when the config is read, by the constructors; no random number is drawn for that."""
    before = torch.get_rng_state()
    with pytest.raises(ConfigError) as error:
        load_pair(tmp_path, prompt=dict(teacher=TEACHER, **keys))
    assert str(error.value).startswith(words)
    load_pair(tmp_path, prompt=dict(teacher=TEACHER, gate="cbam"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("came", "said"),
    [
        ("x must be 1, got 2", "x must be 1, got 2. Correct it."),
        ("x is no y. Did you mean 'z'?", "x is no y. Did you mean 'z'?"),
        ("x is 2.5. Lower x", "x is 2.5. Lower x."),
        ("x is old. Write\ny instead.", "x is old. Write\ny instead."),
    ],
)
def test_one_remedy_is_enough(came, said):
    def read(value, key):
        raise ValueError(came)

    with pytest.raises(ConfigError) as error:
        fields.told_by(read)(1, "x")
    assert str(error.value) == said


def test_the_new_spelling_is_taken_as_it_is_printed(tmp_path):
    old = dict(
        prompts="p.pth", freekd=dict(loss_weight=2), mse=dict(loss_weight=3),
        regression=[dict(module="rpn_head.rpn_reg", beta=0.5)],
    )  # fmt: skip
    with pytest.raises(ConfigError) as error:
        load_pair(tmp_path, pair={**PAIR, "losses": None, **old})
    losses = eval(str(error.value).split("losses=", 1)[1].rstrip(")") + ")" * 2)  # noqa: S307
    components = load_pair(tmp_path, pair=with_losses(**losses)).algorithm.distiller.components
    assert [c.losses[0].name for c in components] == [
        "loss_freekd",
        "loss_mimic",
        "loss_regression",
    ]


def test_another_loss_takes_its_own_arguments(tmp_path):
    """What follows from the models goes in as far as the class has names for it."""
    losses = dict(
        mine=dict(type="ChannelWiseDivergence", tau=2.0, module="neck"),
        low=dict(type="freekd", loss_weight=3, bands="low"),
        by_class=dict(type="FreeKDLoss"),
        freekd=dict(type="FreeKDLoss"),
    )
    components = load_pair(tmp_path, pair=with_losses(**losses)).algorithm.distiller.components
    maps = dict(student_channels=256, teacher_channels=256, num_levels=5)
    assert [component.losses[0] for component in components] == [
        dict(type="ChannelWiseDivergence", name="loss_mine", tau=2.0),
        dict(type="FreeKDLoss", name="loss_low", loss_weight=3, bands="low", **maps),
        dict(type="FreeKDLoss", name="loss_by_class", **maps),
        dict(type="FreeKDLoss", name="loss_freekd", **maps),
    ]
    assert all(component.student_module == "neck" for component in components)


def test_a_loss_that_needs_no_channels_gets_along_without(tmp_path):
    mine = dict(type="ChannelWiseDivergence", module="roi_head.bbox_head.fc_reg")
    losses = dict(cwd=mine)
    component = load_pair(tmp_path, pair=with_losses(**losses)).algorithm.distiller.components[0]
    assert component.losses == [dict(type="ChannelWiseDivergence", name="loss_cwd")]


def test_whose_module_counts(tmp_path):
    """An entry's own, else the pair's for what compares maps, else the card's."""
    losses = dict(freekd=dict(gate=None), mimic=dict(module="neck"))
    pair = dict(PAIR, losses=losses, module="backbone")
    first, second = load_pair(tmp_path, pair=pair).algorithm.distiller.components
    assert (first.student_module, second.student_module) == ("backbone", "neck")
    assert first.losses[0].teacher_channels == [256, 512, 1024, 2048]
    assert second.losses[0].teacher_channels == 256
    pair = dict(PAIR, losses=dict(freekd={}))
    assert load_pair(tmp_path, pair=pair).algorithm.distiller.components[0].teacher_module == "neck"


def test_a_cards_word_is_a_path_that_differs_by_model(tmp_path):
    """Class logits: the classifier layer of a CNN's head, and of a transformer's."""
    pair = dict(
        teacher="mmcls::deit/deit-base_pt-16xb64_in1k.py",
        student="mmcls::resnet/resnet18_8xb32_in1k.py",
        losses=dict(kd={}),
    )
    algorithm = load_pair(tmp_path, pair=pair).algorithm
    (component,) = algorithm.distiller.components
    assert algorithm.architecture.type == "MMClsArchitecture"
    assert (component.student_module, component.teacher_module) == ("head.fc", "head.layers.head")


def test_the_same_taps_are_looked_at_once(tmp_path, monkeypatch):
    """Where the text is silent both models are built for it: not again for every entry."""
    asked = []
    tell = maps.tell_maps
    monkeypatch.setattr(maps, "tell_maps", lambda *args: asked.append(args[1]) or tell(*args))
    losses = dict(freekd={}, mimic={}, again=dict(type="mimic"), neck=dict(type="mimic"))
    losses["neck"]["module"] = "neck"
    load_pair(tmp_path, pair=dict(PAIR, module="backbone", losses=losses))
    assert asked == ["backbone", "backbone", "neck", "neck"]  # of the teacher, of the student


def test_an_entry_is_changed_and_removed_by_options(tmp_path):
    pair = with_losses(freekd=dict(loss_weight=2), mimic=dict(loss_weight=3))
    options = {"pair.losses.freekd.loss_weight": 7, "pair.losses.mimic": None}
    (component,) = load_pair(tmp_path, options, pair=pair).algorithm.distiller.components
    assert component.losses[0].loss_weight == 7 and component.losses[0].name == "loss_freekd"


def test_a_child_config_changes_one_entry(tmp_path):
    load_pair(tmp_path, pair=with_losses(freekd=dict(loss_weight=2), mimic=dict(loss_weight=3)))
    child = tmp_path / "child.py"
    child.write_text(
        "_base_ = ['config.py']\n"
        "pair = dict(losses=dict(mimic=None, freekd=dict(bands='low'), cwd=dict(tau=1.0)))\n"
    )
    components = load.load_config(str(child)).algorithm.distiller.components
    first, second = (component.losses[0] for component in components)
    assert (first.name, first.loss_weight, first.bands) == ("loss_freekd", 2, "low")
    assert (second.name, second.tau) == ("loss_cwd", 1.0)


def test_channels_are_seen_where_the_text_is_silent(tmp_path):
    """Faster R-CNN R101's backbone: 256 to 2048 channels in four levels."""
    pair = dict(PAIR, module="backbone", losses=dict(freekd=dict(gate=None)))
    loss = load_pair(tmp_path, pair=pair).algorithm.distiller.components[0].losses[0]
    assert loss.teacher_channels == loss.student_channels == [256, 512, 1024, 2048]
    assert loss.num_levels == 4


# --------------------------------------------------------------------------- entries of lists
CASCADE = "mmdet::cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco.py"
HEADS = "roi_head.bbox_head"


def heads(cfg):
    model = print_config.resolved(cfg).algorithm.distiller.teacher
    return [head.num_classes for head in model.roi_head.bbox_head]


def cascade(change):
    return dict(config=CASCADE, roi_head=dict(bbox_head=change))


@pytest.mark.parametrize(
    "teacher, options, expected",
    [
        (cascade({1: dict(num_classes=2)}), {}, [80, 2, 80]),
        (cascade({"1": dict(num_classes=2)}), {}, [80, 2, 80]),
        (cascade([dict(num_classes=n) for n in (1, 2, 3)]), {}, [1, 2, 3]),
        (CASCADE, {f"{HEADS}.1.num_classes": 2}, [80, 2, 80]),
        (cascade({1: dict(num_classes=2)}), {f"{HEADS}.1.num_classes": 5}, [80, 5, 80]),
        (cascade({1: dict(num_classes=2)}), {f"{HEADS}.0.num_classes": 5}, [5, 2, 80]),
        (cascade({"1": dict(num_classes=2)}), {f"{HEADS}.1.num_classes": 5}, [80, 5, 80]),
        (cascade([dict(num_classes=2)] * 3), {f"{HEADS}.2.num_classes": 5}, [2, 2, 5]),
    ],
)
def test_one_entry_of_a_list(tmp_path, teacher, options, expected):
    pair = dict(PAIR, teacher=teacher)
    cfg = load_pair(tmp_path, {f"pair.teacher.{k}": v for k, v in options.items()}, pair=pair)
    (tmp_path / "dumped.py").write_text(cfg.pretty_text)
    cfg.dump(str(tmp_path / "dumped.json"))
    assert heads(load.load_config(str(tmp_path / "dumped.py"))) == expected
    assert heads(load.load_config(str(tmp_path / "dumped.json"))) == expected
    assert heads(cfg) == expected


@pytest.mark.parametrize("form", ["prompt", "model", "algorithm"])
def test_one_entry_of_a_list_in_every_form(tmp_path, form):
    change = cascade({0: dict(num_classes=2)})
    forms = dict(
        prompt=(
            dict(prompt=dict(teacher=change)),
            "prompt.teacher",
            "algorithm.architecture.model",
        ),
        model=(dict(model=change), "model", "model"),
        algorithm=(
            dict(
                algorithm=dict(type="X", architecture=dict(type="MMDetArchitecture", model=change))
            ),
            "algorithm.architecture.model",
            "algorithm.architecture.model",
        ),
    )
    keys, given, where = forms[form]
    cfg = load_pair(tmp_path, {f"{given}.{HEADS}.2.num_classes": 7}, **keys)
    model = print_config.select(print_config.resolved(cfg), where)
    assert [head.num_classes for head in model.roi_head.bbox_head] == [2, 80, 7]


def test_options_that_fit_no_list(tmp_path):
    for key, words in {
        f"{HEADS}.3.num_classes": ["list of 3", "0 to 2", "'3'"],
        f"{HEADS}.first.num_classes": ["list of 3", "'first'", "{0:"],
        "backbone.depth.0": ["50", "a dict cannot change"],
    }.items():
        with pytest.raises(ConfigError) as error:
            load_pair(tmp_path, {f"pair.teacher.{key}": 2}, pair=dict(PAIR, teacher=CASCADE))
        assert all(w in str(error.value) for w in [*words, "pair.teacher", CASCADE]), error.value


def test_parts_of_the_short_form_may_have_integer_keys(tmp_path, capsys):
    pair = dict(PAIR, teacher=cascade({0: dict(num_classes=2)}))
    load_pair(tmp_path, pair=pair)
    key = f"algorithm.distiller.teacher.{HEADS}.0.num_classes"
    config = str(tmp_path / "config.py")
    assert print_config.main([config, "--short", "--key", key]) == 0
    assert "num_classes = 2" in capsys.readouterr().out
    assert print_config.main([config, "--short", "--key", key.replace(".0.", ".1.")]) == 1
    assert "nearest: ['0']" in capsys.readouterr().err


# --------------------------------------------------------------------------- what a pair may not be
@pytest.mark.parametrize(
    "keys, words",
    [
        (dict(pair=dict(PAIR, techer=TEACHER)), ["'techer'", "techer -> teacher"]),
        (dict(pair=dict(PAIR, teacher=None)), ["pair.teacher: expected a model", "losses.freekd"]),
        (dict(pair=dict(PAIR, student=None)), ["pair", "['student']", "missing"]),
        (dict(pair=dict(PAIR, module=dict(student="neck"))), ["pair.module"]),
        (
            dict(pair=dict(PAIR, module="roi_head.bbox_head.fc_reg")),
            ["'roi_head.bbox_head.fc_reg'", "(1, 320)", "pair.channels", "pair.num_levels"],
        ),
        (dict(pair=dict(PAIR, module="nek")), ["pair.module (teacher)='nek'", "nearest: ['neck'"]),
        (dict(pair=PAIR, prompt=dict(teacher=TEACHER)), ["['pair', 'prompt']"]),
        (dict(pair=dict(PAIR, student="mmdet::faster_rcnn/r50.py")), ["pair.student", "nearest"]),
        (
            dict(
                pair=dict(PAIR, teacher="mmseg::pspnet/pspnet_r101-d8_512x1024_40k_cityscapes.py")
            ),
            ["pair.teacher", "detection", "FasterRCNN", "EncoderDecoder for segmentation"],
        ),
        (dict(pair=dict(PAIR, student="nowhere.py")), ["pair.student='nowhere.py'", "mmdet::"]),
    ],
)
def test_what_a_pair_must_not_say(tmp_path, keys, words):
    with pytest.raises(ConfigError) as error:
        load_pair(tmp_path, **keys)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_options_reach_into_a_stock_model_and_into_the_algorithm(tmp_path):
    options = {
        "pair.student.roi_head.bbox_head.num_classes": 10,
        "pair.losses.freekd.loss_weight": 7,
        "algorithm.distiller.components.0.losses.0.num_prompts": 6,
    }
    cfg = load_pair(tmp_path, options, pair=PAIR)
    loss = cfg.algorithm.distiller.components[0].losses[0]
    assert (loss.loss_weight, loss.num_prompts) == (7, 6)
    model = print_config.resolved(cfg).algorithm.architecture.model
    assert (model.roi_head.bbox_head.num_classes, model.backbone.depth) == (10, 50)


def test_a_whole_model_and_a_part_of_it_by_options(tmp_path):
    options = {
        "pair.student.bbox_head.num_classes": 10,
        "pair.student": "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
        "algorithm.distiller.teacher.backbone.depth": 50,
    }
    cfg = print_config.resolved(load_pair(tmp_path, options, pair=dict(PAIR, inherit=["neck"])))
    student = cfg.algorithm.architecture.model
    assert (student.type, student.backbone.depth) == ("mmdet.RetinaNet", 18)
    assert student.bbox_head.num_classes == 10
    assert cfg.algorithm.distiller.teacher.backbone.depth == 50


def test_every_key_of_a_pair_arrives(tmp_path):
    pair = dict(
        PAIR, module=dict(student="x", teacher="y"), channels=7, student_channels=[1, 2],
        num_levels=2, resize=True, min_share=0.5, teacher_autocast="bfloat16",
        class_map="by_name",
    )  # fmt: skip
    distiller = load_pair(tmp_path, pair=pair).algorithm.distiller
    (first,) = distiller.components
    assert (first.student_module, first.teacher_module, first.resize) == ("x", "y", True)
    loss = first.losses[0]
    assert (loss.student_channels, loss.teacher_channels, loss.num_levels) == ([1, 2], 7, 2)
    assert (distiller.min_share, distiller.class_map) == (0.5, "by_name")
    assert distiller.teacher_autocast == "bfloat16"


def test_every_key_of_an_entry_arrives(tmp_path):
    align = dict(type="conv2d", student_channels=7, teacher_channels=7)
    losses = dict(
        freekd=dict(
            module=dict(student="x", teacher="y"), channels=7, student_channels=[1, 2],
            num_levels=2, resize=True,
        ),
        cwd=dict(type="ChannelWiseDivergence", module="z", align_module=align),
    )  # fmt: skip
    first, second = load_pair(tmp_path, pair=with_losses(**losses)).algorithm.distiller.components
    assert (first.student_module, first.teacher_module, first.resize) == ("x", "y", True)
    loss = first.losses[0]
    assert (loss.student_channels, loss.teacher_channels, loss.num_levels) == ([1, 2], 7, 2)
    assert second.align_module == align and second.student_module == "z"


def test_what_a_run_writes_down_can_be_read_again(tmp_path):
    cfg = load_pair(tmp_path, {"algorithm.inherit": ["backbone"]}, pair=PAIR)
    (tmp_path / "dumped.py").write_text(cfg.pretty_text)
    again = load.load_config(str(tmp_path / "dumped.py"), {"algorithm.min_iters": 3})
    assert again.algorithm.pop("min_iters") == 3
    assert again.algorithm == cfg.algorithm


def test_a_wrong_merge_over_a_base_is_told(tmp_path):
    load_pair(tmp_path, pair=PAIR)
    child = tmp_path / "child.py"
    child.write_text(
        "_base_ = ['config.py']\npair = dict(student=dict(config='a', backbone=dict(depth=18)))\n"
    )
    with pytest.raises(ConfigError, match="child.py.*_delete_=True"):
        load.load_config(str(child))


def test_print_config(tmp_path, capsys):
    load_pair(tmp_path, pair=PAIR)
    config = str(tmp_path / "config.py")
    assert print_config.main([config]) == 0
    (tmp_path / "printed.py").write_text(capsys.readouterr().out)
    printed = mmcv.Config.fromfile(str(tmp_path / "printed.py"))
    stock = load.load_config(STUDENT).model
    stock.type = "mmdet.FasterRCNN"
    assert printed.algorithm.architecture.model == stock
    assert print_config.main([config, "--short", "--key", "algorithm.architecture.model"]) == 0
    assert STUDENT in capsys.readouterr().out
    assert print_config.main([config, "--key", "algorithm.distiler"]) == 1
    assert "nearest: ['distiller']" in capsys.readouterr().err


# --------------------------------------------------------------------------- the baseline
def test_the_student_alone(tmp_path):
    cfg = load_pair(tmp_path, pair=PAIR, work_dir="work_dirs/a")
    load.keep_student_only(cfg)
    assert (cfg.model, cfg.algorithm) == (STUDENT, None)
    assert cfg.work_dir == "work_dirs/a_student_only"
    with pytest.raises(ConfigError, match="--student-only"):
        load.keep_student_only(load_pair(tmp_path, prompt=dict(teacher=TEACHER)))


def test_the_student_alone_starts_with_the_same_weights(monkeypatch):
    monkeypatch.chdir(ROOT)
    states = []
    for alone in (False, True):
        options = {"pair.losses.freekd.prompts": None, "pair.teacher_checkpoint": None}
        cfg = load.load_config("configs/freekd/retinanet_r34_r18_digits.py", options)
        if alone:
            load.keep_student_only(cfg)
        torch.manual_seed(3)
        model = build.build_model(cfg, "det")
        torch.manual_seed(3)
        build.init_weights(model, cfg)
        states.append((model if alone else model.architecture.model).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_class_counts(monkeypatch):
    monkeypatch.chdir(ROOT)
    options = {"pair.losses.freekd.prompts": None, "pair.teacher_checkpoint": None}
    cfg = load.load_config("configs/freekd/retinanet_r34_r18_digits.py", options)
    model = build.build_model(cfg, "det")

    class Data:
        CLASSES = tuple("0123456789")

    check_data.check_classes(model, Data)
    Data.CLASSES, Data.THING_CLASSES = tuple("0123456789ab"), tuple("0123456789")
    check_data.check_classes(model, Data)  # the things of a panoptic dataset
    del Data.THING_CLASSES
    Data.CLASSES = ("car", "cat")
    with pytest.raises(
        ConfigError, match=r"bbox_head.num_classes: RetinaHead has 10.* 2 \(car, cat"
    ):
        check_data.check_classes(model, Data)


def test_classes_that_the_annotations_do_not_know():
    class Coco:
        dataset = dict(categories=[dict(name="cat"), dict(name="dog")])

    class Data(list):
        coco, CLASSES = Coco, ("cat", "dog")

    check_data.check_images(Data([0]))
    with pytest.raises(ConfigError, match="found none that can be used"):
        check_data.check_images(Data())
    Data.CLASSES = ("Cat", "dog")
    with pytest.raises(ConfigError, match=r"\['Cat'\].*which has cat, dog"):
        check_data.check_images(Data([0]))


@pytest.mark.parametrize(
    "reference, dataset",
    [
        ("mmseg::stdc/stdc1_512x1024_80k_cityscapes.py", "CityscapesDataset"),
        ("mmdet::htc/htc_r50_fpn_1x_coco.py", "CocoDataset"),
        ("mmdet::panoptic_fpn/panoptic_fpn_r50_fpn_1x_coco.py", "CocoPanopticDataset"),
    ],
)
def test_heads_with_classes_of_their_own(reference, dataset):
    import mmdet.datasets
    import mmseg.datasets

    task = "seg" if reference.startswith("mmseg") else "det"
    cfg = load.load_config(reference)
    cfg.model.backbone.update(init_cfg=None)
    package = mmseg.datasets if task == "seg" else mmdet.datasets
    check_data.check_classes(build.build_model(cfg, task), getattr(package, dataset))


# --------------------------------------------------------------------------- without a network
URL = "https://example.org/zoo/a%2Bb-0123abcd.pth"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def test_a_checkpoint_is_fetched_once_and_its_hash_checked(hub, monkeypatch):
    calls = []

    def fetch(url, dst, hash_prefix=None, progress=True):
        calls.append((url, hash_prefix))
        Path(dst).write_bytes(b"x")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    path = download.local_checkpoint(URL, "pair.teacher_checkpoint")
    assert download.local_checkpoint(URL, "pair.teacher_checkpoint") == path
    assert calls == [(URL, "0123abcd")]
    assert Path(path).parent == hub
    assert download.local_checkpoint("a/b.pth", "key") == "a/b.pth"


def test_a_file_put_there_by_hand_is_taken(hub):
    hub.mkdir()
    (hub / "a+b-0123abcd.pth").write_bytes(b"x")
    assert download.local_checkpoint(URL, "key") == str(hub / "a+b-0123abcd.pth")


def test_offline_says_where_to_put_the_file(hub, monkeypatch):
    def fetch(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(download.DownloadError) as error:
        download.local_checkpoint(URL, "algorithm.distiller.teacher_checkpoint")
    for word in (
        URL,
        str(hub),
        "--cfg-options algorithm.distiller.teacher_checkpoint=/path/to/a+b",
    ):
        assert word in str(error.value)
    assert list(hub.iterdir()) == []


def test_offline_names_the_backbones_file(hub, monkeypatch, tmp_path):
    cfg = load_pair(tmp_path, pair=dict(PAIR, teacher_checkpoint="t.pth"))
    lines = download.where_to_put(cfg.algorithm)
    assert len(lines) == 1  # the teacher's backbone comes with its checkpoint
    assert "resnet50" in lines[0] and str(hub) in lines[0]

    class Offline(torch.nn.Module):
        def init_weights(self):
            raise URLError("Name or service not known")

    with pytest.raises(ConfigError, match="resnet50.*pair.student.backbone.init_cfg=None"):
        build.init_weights(Offline(), cfg)


PROCESSES = """
import sys, torch
from pathlib import Path
import freekd.distill
from freekd.zoo import download
rank, here = int(sys.argv[1]), Path(sys.argv[2])
torch.hub.get_dir = lambda: str(here / (str(rank) if sys.argv[3] == "own" else "shared"))
def fetch(url, dst, **kwargs):
    assert rank == 0
    Path(dst).write_bytes(b"x")
torch.hub.download_url_to_file = fetch
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{here}/store", rank=rank, world_size=2)
try:
    print(download.local_checkpoint("https://example.org/a-0123abcd.pth", "key"))
except download.DownloadError as error:
    print(error)
sys.stdout.flush()
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("cache", ["shared", "own"])
def test_two_processes_agree_on_a_download(tmp_path, cache):
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESSES, str(rank), str(tmp_path), cache],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    out = [run.communicate(timeout=100) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], out
    if cache == "shared":
        assert all(text.strip().endswith("shared/checkpoints/a-0123abcd.pth") for text, _ in out)
    else:
        assert all("process 1 does not see the file" in text for text, _ in out)


def test_a_module_of_ones_own_may_import_mmrazor(tmp_path):
    """In a process where nothing has patched the stack yet, as in a notebook."""
    (tmp_path / "own_loss_of_mine.py").write_text(
        "from mmrazor.models.builder import LOSSES\nfrom torch import nn\n\n\n"
        "@LOSSES.register_module()\nclass OwnOfMine(nn.Module):\n    pass\n"
    )
    config = tmp_path / "config.py"
    losses = dict(own=dict(type="OwnOfMine", module="neck"))
    config.write_text(
        "custom_imports = dict(imports=['own_loss_of_mine'], allow_failed_imports=False)\n"
        f"pair = {dict(PAIR, losses=losses)!r}\n"
    )
    code = (
        f"from freekd.config.load import load_config; print(load_config({str(config)!r}).algorithm)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "loss_own" in done.stdout, done.stderr


@pytest.mark.parametrize("gate", ["of_mine", dict(type="of_mine", value=0.5)])
def test_a_gate_of_ones_own_in_stage_1(tmp_path, gate):
    """A config is checked before its custom_imports are imported, and once more after."""
    (tmp_path / "own_gate_of_mine.py").write_text(
        "from freekd.gates import GATES, Gate\n\n\n"
        "@GATES.register('of_mine')\nclass GateOfMine(Gate):\n"
        "    def __init__(self, channels, value=1.0):\n        super().__init__()\n"
    )
    keys = dict(custom_imports=dict(imports=["own_gate_of_mine"], allow_failed_imports=False))
    try:
        found = load_pair(tmp_path, prompt=dict(teacher=TEACHER, gate=gate), **keys)
        assert found.algorithm.architecture.gate == gate
        wrong = dict(teacher=TEACHER, gate=dict(type="of_mine", valu=1))
        with pytest.raises(ConfigError, match="Did you mean 'value'"):
            load_pair(tmp_path, prompt=wrong, **keys)
    finally:
        GATES.classes.pop("of_mine", None)
        sys.modules.pop("own_gate_of_mine", None)
