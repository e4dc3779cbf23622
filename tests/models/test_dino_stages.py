"""A DINO as teacher and student: what runs in each stage, and how its options are refused."""

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest
import tiny
import torch

from freekd.config import load
from freekd.datasets import make_digits
from freekd.fileio import load_checkpoint_file
from freekd.zoo.stock import read_model

ROOT = Path(__file__).parents[2]
TEACHER = str(ROOT / "configs/_base_/models/dino_r18w32_digits.py")
STUDENT = str(ROOT / "configs/_base_/models/dino_r18w16_digits.py")
ENCODER = "bbox_head.transformer.encoder"


def count_runs(module):
    runs = []
    module.register_forward_hook(lambda *_: runs.append(1))
    return runs


@pytest.fixture(scope="module")
def batch():
    return tiny.batch(num_classes=10)


def test_stage_1_trains_prompts_through_the_frozen_decoder(batch):
    """Denoising queries are there although the transformer is in evaluation mode."""
    torch.manual_seed(0)
    algorithm = tiny.build(
        dict(
            type="FrequencyPromptFinetune",
            architecture=dict(
                type="FrequencyPromptTeacher", model=TEACHER, module=ENCODER, channels=64,
                num_levels=3,
            ),
        )
    ).train()  # fmt: skip
    algorithm.architecture.init_weights()
    assert not algorithm.architecture.model.bbox_head.transformer.training
    losses = algorithm(**batch)
    layers = ["", "d0.", "dn_", "d0.dn_", "enc_"]
    terms = {f"{layer}loss_{name}" for layer in layers for name in ("cls", "bbox", "iou")}
    assert {name[len("teacher.") :] for name in losses if name.startswith("teacher.")} == terms
    sum(value.sum() for name, value in losses.items() if "loss" in name).backward()
    grads = [p.grad.norm() for p in algorithm.architecture.prompts.prompts]
    assert all(norm > 0 for norm in grads)
    assert all(p.grad is None for p in algorithm.architecture.model.parameters())


def test_stage_2_stops_the_teacher_after_its_encoder(batch):
    torch.manual_seed(0)
    maps = dict(student_channels=64, teacher_channels=64, num_levels=3)
    loss = dict(type="FreeKDLoss", name="loss_freekd", **maps)
    component = dict(student_module=ENCODER, teacher_module=ENCODER, losses=[loss])
    model = tiny.build(
        dict(
            type="FreeKDDistill",
            architecture=dict(type="MMDetArchitecture", model=STUDENT),
            distiller=dict(type="FreeKDDistiller", teacher=TEACHER, components=[component]),
        )
    ).train()
    lines = model.distiller.check_shapes(model.architecture.model)["loss_freekd"]
    assert lines == [f"(1, 64, {n}, {n}) (1, 64, {n}, {n})" for n in (16, 8, 4)]
    parts = model.distiller.teacher.bbox_head.transformer
    encoder, decoder = count_runs(parts.encoder), count_runs(parts.decoder)
    neck = count_runs(model.distiller.teacher.neck)
    model.train_step(batch, None)  # the first, a whole one, counts how often a tapped module runs
    done = len(decoder)
    log = model.train_step(batch, None)["log_vars"]
    assert len(encoder) == len(neck) == 2 and len(decoder) == done
    assert log["distiller.loss_freekd.0"] > 0


def test_images_without_boxes_give_every_parameter_a_gradient(batch):
    """As processes that share their gradients want it."""
    torch.manual_seed(0)
    model = tiny.build(read_model(STUDENT, "model"))
    model.init_weights()
    model.train()
    nothing = dict(batch, gt_bboxes=[torch.zeros(0, 4)] * 2, gt_labels=[torch.zeros(0).long()] * 2)
    losses = model(return_loss=True, **nothing)
    assert losses["dn_loss_cls"].item() == losses["loss_bbox"].item() == 0
    sum(value.sum() for value in losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_noise_is_drawn_in_its_range():
    from freekd.models.dino.denoising import draw_noise

    torch.manual_seed(0)
    noise = draw_noise(4000, 10, torch.zeros(1, dtype=torch.float64))
    assert noise.chance.dtype == noise.part.dtype == torch.float64
    assert set(noise.label.tolist()) == set(range(10)) and set(noise.sign.unique().tolist()) == {
        -1,
        1,
    }
    for share in (noise.chance, noise.part):
        assert 0 <= float(share.min()) < 0.01 and 0.99 < float(share.max()) < 1
    assert abs(float(noise.sign.mean())) < 0.05


def test_more_queries_than_tokens():
    """A small image has fewer places than there are queries: each is one."""
    torch.manual_seed(0)
    model = tiny.build(read_model(STUDENT, "model")).eval()
    data = tiny.batch(size=32)
    with torch.no_grad():
        feats = model.extract_feat(data["img"])
        scores, boxes, *_ = model.bbox_head(feats, data["img_metas"])
    assert scores.shape == (2, 2, 16 + 4 + 1, 10) and boxes.shape == (2, 2, 21, 4)


WRONG = [
    (dict(dn_cfg=dict(num_dn_queries=0)), "bbox_head.dn_cfg.num_dn_queries must be an integer"),
    (dict(dn_cfg=dict(label_noise_scale=2)), "dn_cfg.label_noise_scale must be a number"),
    (dict(dn_cfg=dict(box_noise_scale=-1)), "dn_cfg.box_noise_scale must be a finite number"),
    (dict(dn_cfg=dict(groups=5)), "dn_cfg: unknown keys"),
    (dict(dn_cfg=5), "bbox_head.dn_cfg: expected a dict, got 5"),
    (dict(num_query="many"), "bbox_head.num_query must be an integer"),
    (dict(num_query=0), "bbox_head.num_query must be an integer"),
    (dict(with_box_refine=False), "bbox_head.with_box_refine: DINO has it always"),
    (dict(transformer=dict(two_stage_num_proposals=9)), "expected num_query=50"),
    (
        dict(transformer=dict(decoder=dict(return_intermediate=False))),
        "decoder.return_intermediate",
    ),
    (dict(transformer=None), "bbox_head.transformer: expected a dict .*got None"),
    (
        dict(transformer=dict(type="DeformableDetrTransformer")),
        "transformer.type: expected 'DINOTransformer', got 'DeformableDetrTransformer'",
    ),
    (
        dict(transformer=dict(decoder=dict(type="DeformableDetrTransformerDecoder"))),
        "decoder.type: expected 'DINOTransformerDecoder'",
    ),
    (
        dict(loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=False)),
        "loss_cls.use_sigmoid: expected True",
    ),
    (
        dict(transformer=dict(num_feature_levels=4)),
        r"num_feature_levels=4, but .* have num_levels=3",
    ),
]


@pytest.mark.parametrize(("change", "says"), WRONG)
def test_wrong_options(change, says):
    with pytest.raises(ValueError, match=says):
        tiny.build(dict(config=STUDENT, bbox_head=change))


def test_no_more_results_than_there_can_be():
    with pytest.raises(ValueError, match=r"max_per_img=501: expected at most .*, 50 \* 10"):
        tiny.build(dict(config=STUDENT, test_cfg=dict(max_per_img=501)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(test_cfg=dict(max_per_img="x")), "test_cfg.max_per_img must be an integer"),
        (dict(test_cfg=5), "test_cfg: expected a dict, got 5"),
        (dict(train_cfg=5), "train_cfg: expected a dict, got 5"),
        (dict(neck=dict(num_outs=4)), r"neck.num_outs=4, but .*num_feature_levels=3"),
    ],
)
def test_wrong_options_beside_the_head(change, says):
    with pytest.raises(ValueError, match=says):
        tiny.build(dict(config=STUDENT, **change))


def test_an_assigner_is_wanted():
    with pytest.raises(ValueError, match="train_cfg.assigner: expected"):
        tiny.build(dict(config=STUDENT, train_cfg=dict(_delete_=True, other=1)))


# --------------------------------------------------------------------------- the commands
@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Eight images with one box each, and options for them."""
    folder = tmp_path_factory.mktemp("dino")
    data = make_digits(folder / "data", num_train=8, num_val=2)
    options = {}
    for split in ("train", "val"):
        path = data / "annotations" / f"{split}.json"
        content = json.loads(path.read_text())
        first = {one["image_id"]: one for one in reversed(content["annotations"])}
        path.write_text(json.dumps(dict(content, annotations=list(first.values()))))
        options[f"data.{split}.ann_file"] = str(path)
        options[f"data.{split}.img_prefix"] = f"{data}/{split}/"
    teacher = tiny.build(read_model(TEACHER, "model"))
    torch.save(dict(state_dict=teacher.state_dict()), str(folder / "teacher.pth"))
    options["pair.teacher_checkpoint"] = str(folder / "teacher.pth")
    options["pair.losses.freekd.prompts"] = None
    return options


PAIR = "configs/freekd/dino_r18w32_r18w16_digits.py"


@pytest.mark.slow
def test_doctor(digits, monkeypatch):
    from freekd.doctor import examine

    monkeypatch.chdir(ROOT)
    cfg = load.load_config(PAIR, copy.deepcopy(digits))
    cfg.device, cfg.seed = "cpu", 0
    text = examine(cfg, 1, 1.0).text()
    assert text.count("Remedy") == 1 and "it is not trained" in text  # the teacher's weights
    assert "(336, 8, 64), (336, 8, 64)" in text and "enc_loss_cls" in text


def test_print_config(monkeypatch, capsys):
    from freekd.engine import print_config

    monkeypatch.chdir(ROOT)
    assert print_config.main([PAIR]) == 0
    assert "teacher_module='bbox_head.transformer.encoder'" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_learn_as_one(digits, tmp_path):
    """Without noise, whose numbers each process draws, and with norms that do not see the batch."""
    options = {
        **digits,
        "runner.max_epochs": 2,
        "optimizer": dict(_delete_=True, type="SGD", lr=0.1),  # Adam's steps are as large as noise
        "lr_config": dict(_delete_=True, policy="fixed"),
        "pair.losses.freekd.normalize": None,  # it is over a process's own batch
        "pair.losses.freekd.loss_weight": 0.01,
        "pair.student.backbone.norm_eval": True,
        "pair.student.bbox_head.dn_cfg.label_noise_scale": 0.0,
        "pair.student.bbox_head.dn_cfg.box_noise_scale": 0.0,
    }
    pair = tmp_path / "pair.py"
    ends = []
    for number, images in ((1, 8), (2, 4)):
        cfg = load.load_config(str(ROOT / PAIR), {**copy.deepcopy(options),
                                                  "data.samples_per_gpu": images})  # fmt: skip
        pair.write_text(cfg.pretty_text)
        folder = tmp_path / str(number)
        command = ["bash", "tools/dist_train.sh", str(pair), str(number), "--work-dir", str(folder),
                   "--device", "cpu", "--seed", "0", "--no-validate"]  # fmt: skip
        done = subprocess.run(
            command, cwd=str(ROOT), capture_output=True, text=True, check=False,
            env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        ends.append(load_checkpoint_file(folder / "latest.pth"))
    one, two = (end["state_dict"] for end in ends)
    assert ends[1]["meta"]["world_size"] == 2
    learned = [n for n, v in one.items() if v.is_floating_point() and "running" not in n]
    for name in learned:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    first = load_checkpoint_file(tmp_path / "1" / "epoch_1.pth")["state_dict"]
    steps = {n: float((one[n] - first[n]).abs().max()) for n in learned}
    assert max(steps.values()) > 1e-2  # what is compared has moved
