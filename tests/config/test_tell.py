"""What a loss asks the models: channels, grids and stages, of a blank image of the data's size.

Oracles: the sizes that the networks' papers give for images of 224 pixels, arithmetic of strides.
"""

from pathlib import Path

import pytest
import torch

from freekd import compat

compat.apply()

from mmcv import Config

from freekd.config.errors import ConfigError
from freekd.config.load import load_config
from freekd.config.maps import Look, train_size
from freekd.engine import build
from freekd.tasks.base import TaskError
from freekd.tasks.cls import Classification
from freekd.zoo.stock import read_model

ROOT = Path(__file__).resolve().parents[2]
VIT = """
model = dict(
    type="ImageClassifier",
    backbone=dict(type="VisionTransformer", img_size=32, patch_size=8, drop_rate=0.0,
                  arch=dict(embed_dims=16, num_layers=12, num_heads=2, feedforward_channels=16)),
    head=dict(type="VisionTransformerClsHead", num_classes=10, in_channels=16),
)
"""
PAIR = """
_base_ = ["{root}/configs/_base_/digits_cls.py"]
pair = dict(
    teacher={teacher!r},
    student={student!r},
    losses=dict({losses}),
)
"""
CNN = str(ROOT / "configs" / "_base_" / "models" / "resnet18_digits_cls.py")  # 8 to 64 channels


@pytest.fixture
def pair(tmp_path):
    """A config of a ResNet of 64 channels at 4x4 places and a ViT of 16 at 4x4, 32 pixels."""
    vit = tmp_path / "vit.py"
    vit.write_text(VIT)

    def write(losses, student=CNN, teacher=str(vit), more=""):
        path = tmp_path / "pair.py"
        path.write_text(PAIR.format(root=ROOT, losses=losses, student=student, teacher=teacher))
        path.write_text(path.read_text() + more)
        return str(path)

    write.vit = str(vit)
    return write


def losses_of(path):
    return [c.losses[0] for c in load_config(path).algorithm.distiller.components]


# --------------------------------------------------------------------------- one map of each
def test_channels_and_grids_are_told(pair):
    (loss,) = losses_of(pair("ufdkd=dict(num_heads=2, upsample=2)"))
    assert (loss.student_dims, loss.teacher_dims) == (64, 16)
    assert (loss.query_hw, loss.pos_hw) == ((4, 4), (8, 8))


def test_what_the_config_says_counts(pair):
    said = "student_dims=9, teacher_dims=8, query_hw=(2, 2), pos_hw=(3, 3)"
    (loss,) = losses_of(pair(f"ufdkd=dict({said}, num_heads=2)"))
    assert (loss.student_dims, loss.teacher_dims) == (9, 8)
    assert (loss.query_hw, loss.pos_hw) == ((2, 2), (3, 3))


def test_a_pooled_teacher(pair):
    (loss,) = losses_of(pair("ufdkd=dict(num_heads=2, teacher_pool=(2, 2))"))
    assert loss.query_hw == (2, 2)


NO_SIZE = """
data = dict(train=dict(pipeline=[dict(type="LoadImageFromFile")]))
"""


def test_images_of_no_known_size(pair):
    """Then the grids are the config's to say: an error when the loss is built."""
    teacher = CNN
    path = pair("ufdkd=dict(num_heads=2)", teacher=teacher, more=NO_SIZE)
    cfg = load_config(path)
    assert "query_hw" not in cfg.algorithm.distiller.components[0].losses[0]
    with pytest.raises(ConfigError, match=r"ufdkd\.query_hw is missing: the height and width of"):
        build.build_model(cfg, "cls")


def test_an_output_that_is_not_there(pair):
    with pytest.raises(
        ConfigError, match=r"pair\.losses\.ufdkd\.student_index: .* output 2: .* 1,"
    ):
        load_config(pair("ufdkd=dict(student_index=2)"))


def test_grids_that_do_not_fit_are_said_before_training(pair):
    path = pair("ufdkd=dict(num_heads=2, query_hw=(4, 4), pos_hw=(7, 7))")
    model = build.build_model(load_config(path), "cls")
    with pytest.raises(ValueError, match=r"ufdkd\.pos_hw=\(7, 7\), but the student's map is \(4,"):
        model.check_ready((3, 32, 32), {"img", "gt_label"})


# --------------------------------------------------------------------------- named stages
def test_stages_are_told(pair):
    """Maps at strides 1 to 8; D_t is the teacher's, from its head."""
    (loss,) = losses_of(pair("ofakd=dict()"))
    assert loss.stage_shapes == dict(
        stage1=(8, 32, 32), stage2=(16, 16, 16), stage3=(32, 8, 8), stage4=(64, 4, 4)
    )
    assert (loss.student_dim, loss.teacher_dim, loss.num_classes) == (64, 16, 10)


def test_stages_of_tokens_are_told(pair):
    """16 patches and a class token after each of four blocks."""
    (loss,) = losses_of(pair("ofakd=dict()", student=pair.vit, teacher=CNN))
    assert loss.stage_shapes == dict.fromkeys(("stage1", "stage2", "stage3", "stage4"), (17, 16))
    assert (loss.student_dim, loss.teacher_dim) == (16, 64)


def test_a_step_of_both_and_their_parts_in_the_log(pair):
    path = pair("ofakd=dict(stages_weight=0.1), ufdkd=dict(num_heads=2), kd=dict(alpha=0.25)")
    torch.manual_seed(0)
    model = build.build_model(load_config(path), "cls")
    model.init_weights()
    model.check_ready((3, 32, 32), {"img", "gt_label"})
    model.train()
    data = dict(img=torch.randn(4, 3, 32, 32), gt_label=torch.tensor([0, 1, 2, 3]), img_metas=[])
    outputs = model.train_step(data, None)
    log = outputs["log_vars"]
    terms = {name: log[f"distiller.loss_{name}.0"] for name in ("ofakd", "ufdkd", "kd")}
    assert log["loss"] == pytest.approx(log["student.loss"] + sum(terms.values()), rel=1e-5)
    for name, count in (("ofakd", 5), ("ufdkd", 4)):
        parts = [value for key, value in log.items() if key.startswith(f"part.{name}.")]
        assert len(parts) == count and sum(parts) == pytest.approx(terms[name], rel=1e-5)
    outputs["loss"].backward()
    learning = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not learning
    assert all(p.grad is None for p in model.distiller.teacher.parameters())


# --------------------------------------------------------------------------- the words of stages
# shapes of four stages for images of 224 pixels: maps (C, H, W), tokens (L, C)
STAGES = {
    "mmcls::resnet/resnet18_8xb32_in1k.py": [
        (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7),
    ],
    "mmcls::mobilenet_v2/mobilenet-v2_8xb32_in1k.py": [
        (24, 56, 56), (32, 28, 28), (96, 14, 14), (1280, 7, 7),
    ],
    "mmcls::swin_transformer/swin-tiny_16xb64_in1k.py": [
        (3136, 96), (784, 192), (196, 384), (49, 768),
    ],
    "mmcls::convnext/convnext-tiny_32xb128_in1k.py": [
        (96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7),
    ],
    "mmcls::deit/deit-tiny_pt-4xb256_in1k.py": [(197, 192)] * 4,
}  # fmt: skip
WORDS = ("stage1", "stage2", "stage3", "stage4")


@pytest.mark.parametrize("reference", STAGES, ids=lambda name: name.split("/")[-1].split("_")[0])
def test_four_stages(reference):
    model, task = read_model(reference, "x"), Classification()
    paths = {word: task.tap(word, model) for word in WORDS}
    outputs = Look(reference, "student", paths, "x", (224, 224)).outputs()
    assert [tuple(outputs[word].shape[1:]) for word in WORDS] == STAGES[reference]


@pytest.mark.parametrize(
    "reference", ["mmcls::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py", [*STAGES][-1]]
)
def test_twelve_blocks_of_one_width(reference):
    """After 2, 4, 10 and 12 of them."""
    paths = [Classification().tap(word, read_model(reference, "x")) for word in WORDS]
    assert paths == [f"backbone.layers.{i}" for i in (1, 3, 9, 11)]


def test_a_family_without_stages():
    with pytest.raises(TaskError, match=r"no default for the four stages of a VGG\. Give all taps"):
        Classification().tap("stage1", dict(backbone=dict(type="VGG"), head=dict()))


# --------------------------------------------------------------------------- the data's size
CROP = [dict(type="Resize", img_scale=(2048, 1024)), dict(type="RandomCrop", crop_size=(512, 768))]


@pytest.mark.parametrize(
    ("train", "size"),
    [
        (dict(pipeline=CROP), (512, 768)),
        (dict(pipeline=[dict(type="RandomResizedCrop", size=224)]), (224, 224)),
        (dict(type="RepeatDataset", dataset=dict(pipeline=CROP)), (512, 768)),
        (dict(pipeline=[dict(type="Resize", img_scale=[(64, 64), (96, 96)])]), None),
        (dict(pipeline=[]), None),
        (None, None),
    ],
)
def test_train_size(train, size):
    assert train_size(Config(dict(data=dict(train=train)))) == size
