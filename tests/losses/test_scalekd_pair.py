"""ScaleKD with real models: a tiny Swin of mmcls teaches a ResNet. Oracles: mmcls's own parts."""

import copy
import json

import cv2
import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine import build, check_data, datasets
from freekd.engine.train import main as train
from freekd.losses.stage import view_loss

CONFIG = """
task = "cls"
norm = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
end = [dict(type="Normalize", **norm), dict(type="ImageToTensor", keys=["img"])]
train_pipeline = [
    dict(type="LoadImageFromFile"), dict(type="RandomCrop", size=64, padding=4), *end,
    dict(type="ToTensor", keys=["gt_label"]), dict(type="Collect", keys=["img", "gt_label"]),
]
common = dict(type="CustomDataset", data_prefix="{root}/images", classes=("a", "b"))
data = dict(samples_per_gpu=3, workers_per_gpu=0, train=dict(pipeline=train_pipeline, **common),
            val=dict(pipeline=[train_pipeline[0], *end, dict(type="Collect", keys=["img"])],
                     **common))
optimizer = dict(type="SGD", lr=0.05, momentum=0.9)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="CosineAnnealing", min_lr=0)
runner = dict(type="EpochBasedRunner", max_epochs=2)
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook")])
log_level = "WARNING"
teacher = dict(
    type="ImageClassifier",
    backbone=dict(type="SwinTransformer", window_size=2, drop_path_rate=0.5, arch=dict(
        embed_dims=8, depths=[1, 1, 1, 2], num_heads=[1, 1, 2, 2])),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=2, in_channels=64, topk=(1,),
              loss=dict(type="CrossEntropyLoss", loss_weight=1.0)),
)
pair = dict(
    student=dict(
        type="ImageClassifier",
        backbone=dict(type="ResNet", depth=18, stem_channels=4, base_channels=4),
        neck=dict(type="GlobalAveragePooling"), head=dict(teacher["head"], in_channels=32)),
    teacher=teacher, teacher_checkpoint="{root}/teacher.pth",
    losses=dict(scalekd=dict(stage4=dict(num_heads=4)), kd=dict(tau=1.0, alpha=0.5)),
)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three pictures of two classes, and a Swin with random weights that drops paths."""
    folder, random = tmp_path_factory.mktemp("pair"), np.random.RandomState(0)
    for label, name in enumerate("ab"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(3):
            picture = (random.rand(64, 64, 3) * 60 + 90 * label).astype(np.uint8)
            cv2.imwrite(str(folder / "images" / name / f"{number}.png"), picture)
    (folder / "pair.py").write_text(CONFIG.replace("{root}", str(folder)))
    torch.manual_seed(3)
    from mmcls.models import build_classifier

    cfg = load.load_config(str(folder / "pair.py"))
    teacher = build_classifier(copy.deepcopy(cfg.algorithm.distiller.teacher))
    teacher.init_weights()
    torch.save(dict(state_dict=teacher.state_dict()), str(folder / "teacher.pth"))
    return folder


def algorithm_of(root, options=None):
    cfg = load.load_config(str(root / "pair.py"), options or {})
    torch.manual_seed(0)
    algorithm = build.build_model(cfg, "cls")
    algorithm.init_weights()
    check_data.check_ready(algorithm, datasets.build_dataset(cfg.data.train, "cls"), 0)
    return algorithm.train()


def batch():
    torch.manual_seed(5)
    labels = torch.tensor([0, 1, 0])
    return dict(img=torch.randn(3, 3, 64, 64), gt_label=labels, img_metas=[{}] * 3)


def test_the_models_tell_the_sizes(root):
    cfg = load.load_config(str(root / "pair.py"))
    loss = cfg.algorithm.distiller.components[0].losses[0]
    assert loss.student_shapes == dict(s3=[16, 4, 4], s4=[32, 2, 2])
    assert loss.teacher_shapes == dict(s3=[32, 4, 4], s4=[64, 2, 2])


def test_a_step_by_hand(root):
    """The tail in mmcls's own words, without drop path; and the four terms."""
    algorithm, data = algorithm_of(root), batch()
    student, teacher = algorithm.architecture.model, algorithm.distiller.teacher
    loss = algorithm.distiller.losses["loss_scalekd"]
    before, own = copy.deepcopy(student), copy.deepcopy(loss)
    log = algorithm.train_step(data, None)["log_vars"]
    swin = teacher.backbone
    assert not any(m.training for m in swin.modules())
    with torch.no_grad():
        resnet, x = before.backbone, data["img"]
        x = resnet.layer2(resnet.layer1(resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))))
        s3 = resnet.layer3(x)
        s4 = resnet.layer4(s3)
        target = swin(data["img"])[0].flatten(2).transpose(1, 2)
        total = 0.0
        for view, alpha in (("spatial", 0.08), ("frequency", 0.06)):
            p = own.stages["stage3"].views[view](s3)
            p, grid = swin.stages[2].downsample(p, (4, 4))
            p = swin.norm3(swin.stages[3](p, grid)[0])
            r = own.stages["stage4"].views[view](s4, p)
            for tokens in (p, r):
                total += alpha * view_loss(tokens, target, view == "frequency")
    assert log["distiller.loss_scalekd.0"] == pytest.approx(float(total), rel=1e-4)


def test_the_teacher_is_seen_by_nothing(root):
    """Weights and statistics bit for bit after steps, no gradient, not in state or optimizer."""
    algorithm = algorithm_of(root)
    teacher = algorithm.distiller.teacher
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    optimizer = torch.optim.AdamW(algorithm.parameters(), lr=0.1, weight_decay=0.1)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not held & {id(p) for p in teacher.parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        algorithm.train_step(batch(), None)["loss"].backward()
        missing = [n for n, p in algorithm.named_parameters() if p.requires_grad and p.grad is None]
        assert missing == []
        optimizer.step()
    assert all(torch.equal(x, before[name]) for name, x in teacher.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not any(m.training for m in teacher.backbone.modules())
    assert not [name for name in algorithm.state_dict() if "teacher" in name or "norm3" in name]


@pytest.mark.parametrize("with_cp", [False, True])
@pytest.mark.parametrize("path", ["backbone.stages.3.blocks.0", "backbone.norm3"])
def test_the_tail_s_calls_are_no_taps(root, path, with_cp):
    """Another loss taps what the tail runs: it gets the teacher's own output, once."""
    other = dict(
        type="mmdet.MSELoss", loss_weight=1.0, module=dict(student=path, teacher=path),
    )  # fmt: skip
    alike = dict(load.load_config(str(root / "pair.py")).algorithm.distiller.teacher)
    student = dict(alike, backbone=dict(alike["backbone"], drop_path_rate=0.0), _delete_=True)
    taps = dict(s3="backbone.stages.2", s4="backbone")
    options = {
        "pair.student": student,
        "pair.losses.scalekd.module": taps,
        "pair.losses.other": other,
        "pair.teacher.backbone.with_cp": with_cp,
        "pair.student.backbone.with_cp": False,
    }
    algorithm = algorithm_of(root, options)
    distiller, data = algorithm.distiller, batch()
    outputs = algorithm.train_step(data, None)
    recorded = distiller.teacher_outputs[path]
    assert len(recorded) == 1
    seen = []
    hook = distiller.teacher.get_submodule(path).register_forward_hook(
        lambda _, __, out: seen.append(out)
    )
    with torch.no_grad():
        distiller.teacher.extract_feat(data["img"])
    hook.remove()
    torch.testing.assert_close(recorded[0][0], seen[0])
    outputs["loss"].backward()  # a checkpointed tail runs a second time here
    assert len(recorded) == 1


def test_a_memory_saving_teacher_gives_the_same_gradients(root):
    grads = []
    for with_cp in (False, True):
        algorithm = algorithm_of(root, {"pair.teacher.backbone.with_cp": with_cp})
        algorithm.train_step(batch(), None)["loss"].backward()
        grads.append(algorithm.architecture.model.backbone.conv1.weight.grad)
    torch.testing.assert_close(*grads)


def test_a_run_in_bfloat16(root, tmp_path):
    args = [str(root / "pair.py"), "--seed", "1", "--device", "cpu", "--no-validate"]
    args += ["--cfg-options", "runner.max_epochs=1", "fp16.dtype=bfloat16", "fp16.loss_scale=1.0"]
    assert train([*args[:-1], "--work-dir", str(tmp_path)]) == 0
    record = json.loads(next(tmp_path.glob("*.log.json")).read_text().splitlines()[1])
    assert np.isfinite(record["loss"]) and record["distiller.loss_scalekd.0"] > 0


def test_a_resumed_run_is_the_same_bit_for_bit(root, tmp_path):
    torch.set_num_threads(1)
    args = [str(root / "pair.py"), "--seed", "1", "--device", "cpu", "--no-validate", "--work-dir"]
    assert train([*args, str(tmp_path / "whole")]) == 0
    (tmp_path / "parts").mkdir()
    first = (tmp_path / "whole" / "epoch_1.pth").read_bytes()
    (tmp_path / "parts" / "epoch_1.pth").write_bytes(first)
    assert train([*args, str(tmp_path / "parts"), "--auto-resume"]) == 0
    states = [
        torch.load(str(tmp_path / name / "epoch_2.pth"), weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any("stage4.views.frequency" in name for name in states[0])
    assert not [name for name in states[0] if "teacher" in name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair.losses.scalekd.stage5": {}}, "pair.losses.scalekd: .*unknown keys .*stage5"),
        ({"pair.losses.scalekd.stage4.heads": 3},
         "pair.losses.scalekd.stage4: unknown option 'heads'"),
        ({"pair.losses.scalekd.stage4.num_heads": 5}, "num_heads=5: the teacher's 64 channels"),
        ({"pair.losses.scalekd.stage3.query_hw": (7, 7)},
         r"stage3: teacher_dims=32 and query_hw=\(7, 7\) become \(1, 16, 64\) in the teacher's"),
        ({"pair.losses.scalekd.stage3.teacher_dims": 24}, "teacher_dims=24.*does not take such"),
        ({"pair.losses.scalekd.stage4.teacher_dims": 48}, "become .1, 4, 64. .*teacher_dims=48"),
        ({"pair.losses.scalekd.stage4.pos_hw": (7, 7)},
         r"pair.losses.scalekd: stage4.student_dims=32 and stage4.pos_hw=\(7, 7\)"),
        ({"pair.losses.scalekd.stage3.student_dims": 8}, "stage3.student_dims=8 .*got .1, 16"),
        ({"pair.losses.scalekd.tail": ["backbone.stage3"]}, "no module 'backbone.stage3'"),
        ({"pair.losses.scalekd.module.teacher.s4": "backbone.stages.1",
          "pair.losses.scalekd.module.teacher.s3": "backbone.stages.0",
          "pair.losses.scalekd.module.student": dict(s3="backbone.layer3", s4="backbone.layer4")},
         "from which the tail of a SwinTransformer cannot be told"),
        ({"pair.losses.scalekd.module": dict(student=dict(s3="backbone.layer3", s4="neck"),
                                             teacher=dict(s3="backbone.stages.2", s4="backbone"))},
         r"s4.: expected a map .N, C, H, W. or tokens"),
        ({"data.train.pipeline": []}, "stage3: how large the data.s images are cannot be told"),
    ],
)  # fmt: skip
def test_errors_come_before_training(root, options, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        algorithm_of(root, options)


def test_a_teacher_without_a_tail(root):
    """Its type, the key and the remedy; stage 4 alone needs no tail."""
    teacher = dict(
        _delete_=True, type="ImageClassifier",
        backbone=dict(type="ResNet", depth=18, base_channels=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=2, in_channels=64),
    )  # fmt: skip
    stages = dict(s3="backbone.layer3", s4="backbone.layer4")
    options = {
        "pair.teacher": teacher, "pair.teacher_checkpoint": None,
        "pair.losses.scalekd.module": stages,
    }  # fmt: skip
    message = "pair.losses.scalekd.tail: .*ImageClassifier with backbone=ResNet.*stage3=None"
    with pytest.raises(ValueError, match=message):
        algorithm_of(root, options)
    alone = algorithm_of(root, {**options, "pair.losses.scalekd.stage3": None})
    assert torch.isfinite(alone.train_step(batch(), None)["loss"])
    # maps of a network that is not known, by name
    given = {"pair.losses.scalekd.tail": ["backbone.layer4"], "pair.losses.scalekd.tail_maps": True}
    named = algorithm_of(root, {**options, **given})
    assert torch.isfinite(named.train_step(batch(), None)["loss"])
