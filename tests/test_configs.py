"""Every shipped config is built and trained for one step, as it is but for data and weights.

Detectors of COCO, segmentors of Cityscapes and classifiers of ImageNet and CIFAR-100 get random
weights and small images, nothing else.
"""

import ast
import copy
import json
import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from freekd.datasets import (
    make_digit_images,
    make_digit_maps,
    make_digit_masks,
    make_digits,
    make_scenes,
)
from freekd.fileio import load_checkpoint_file
from freekd.losses import cards

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.py")
    if not {"_base_", "studies"} & set(path.relative_to(ROOT).parts)  # tests/study has studies
)


# --------------------------------------------------------------------------- data
@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Digits of each task; four images, with COCO boxes and with labels; label maps of two sets."""
    root = tmp_path_factory.mktemp("data")
    make_digits(root / "digits", num_train=8, num_val=2)
    make_digit_images(root / "digits_cls", num_train=32, num_val=10)
    make_digit_maps(root / "digits_seg", num_train=16, num_val=2)
    make_digit_masks(root / "digits_sam", num_train=8, num_val=2)
    make_scenes(root / "scenes", num_train=8, num_val=2, num_tune=1)
    rng = np.random.default_rng(0)
    from mmdet.datasets import CocoDataset

    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CocoDataset.CLASSES)]
    images, annotations = [], []
    for i in range(4):
        cv2.imwrite(str(root / f"{i}.png"), rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
        images.append(dict(id=i, file_name=f"{i}.png", width=128, height=96))
        x, y, w, h = 10 + 5 * i, 12, 60, 50
        annotations.append(
            dict(
                id=i, image_id=i, category_id=1 + i, bbox=[x, y, w, h], area=w * h, iscrowd=0,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
            )
        )  # fmt: skip
    text = json.dumps(dict(images=images, annotations=annotations, categories=categories))
    (root / "coco.json").write_text(text)
    (root / "labels.txt").write_text("".join(f"{i}.png {i}\n" for i in range(4)))
    for folder, suffix in (("img", "_leftImg8bit.png"), ("ann", "_gtFine_labelTrainIds.png")):
        (root / folder).mkdir()
        (root / f"ade_{folder}").mkdir()
        for i in range(2):
            shape = (160, 160, 3) if folder == "img" else (160, 160)
            pixels = rng.integers(0, 19, shape, dtype=np.uint8)
            cv2.imwrite(str(root / folder / f"{i}{suffix}"), pixels)
            suffix_of_ade = ".jpg" if folder == "img" else ".png"
            cv2.imwrite(str(root / f"ade_{folder}" / f"{i}{suffix_of_ade}"), pixels)
    return root


def point_to(cfg, name, root):
    """The config's own data settings with the small data's files and sizes."""
    for split in ("train", "val"):
        data = cfg.data[split]
        if "/sam_" in name:
            data.data_root = f"{root}/digits_sam"
        elif "digits_cls" in name:
            data.data_prefix = f"{root}/digits_cls/{split}"
        elif "digits_seg" in name:
            data.data_root = f"{root}/digits_seg"
        elif "digits" in name or "scenes" in name:
            folder = f"{root}/{'scenes' if 'scenes' in name else 'digits'}"
            data.ann_file, data.img_prefix = (
                f"{folder}/annotations/{split}.json",
                f"{folder}/{split}/",
            )
        elif "cityscapes" in name:
            data.data_root, data.img_dir, data.ann_dir = str(root), "img", "ann"
        elif "ade20k" in name:
            data.data_root, data.img_dir, data.ann_dir = str(root), "ade_img", "ade_ann"
        elif "imagenet" in name or "cifar100" in name:
            data.data_prefix, data.ann_file = str(root), f"{root}/labels.txt"
        else:
            data.ann_file, data.img_prefix = f"{root}/coco.json", str(root)
    if "/sam_" in name and "digits" not in name:
        from freekd.datasets.sam_steps import evaluation_steps, training_steps

        cfg.data.train.pipeline = training_steps(
            SAM["image_size"], cfg.data.train.get("masks", True)
        )
        cfg.data.val.pipeline = evaluation_steps(SAM["image_size"])
        cfg.data.samples_per_gpu, cfg.data.workers_per_gpu = 2, 0
    elif "digits" not in name and "scenes" not in name:
        if "cifar100" in name:  # which is packed, and fetched
            data = cfg.data.train
            data.type, data.classes = "CustomDataset", [str(i) for i in range(100)]
            data.pipeline = [dict(type="LoadImageFromFile"), *data.pipeline]
        small = any(word in name for word in ("cityscapes", "ade20k", "imagenet", "cifar100"))
        if not needs_its_size(cfg, name):
            resize(cfg.data.train.pipeline, 64 if small else 96)
        cfg.data.samples_per_gpu, cfg.data.workers_per_gpu = 2, 0


# A step of Segment Anything at 1024 pixels takes minutes, and ViT-H 5 GB: steps are of this size,
# with the embedding's own channels. tests/models/sam builds the full ones.
SAM = dict(
    image_size=64, embed_dim=24, depth=2, num_heads=3, global_attn_indexes=[1], window_size=3
)


def make_sam_small(cfg, name, teachers):
    """Small encoders in the place of all variants; weights of files that a run would find."""
    if "/sam_" not in name:
        return
    for model in models_of(cfg):  # those of the bundled set are small, and named by a file
        if not isinstance(model, str) and model.pop("variant", None) is not None:
            model.arch = SAM
    files = ("checkpoint", "decoder_checkpoint")
    for key in [key for key in files if cfg.get("model") and cfg.model.get(key)]:
        bare = {k: v for k, v in cfg.model.items() if k not in files}
        cfg.model[key] = teachers(bare)[0]


def models_of(cfg):
    algorithm = cfg.get("algorithm")
    if algorithm is None:
        return [cfg.model]
    found = [algorithm.architecture.model]
    return found + ([algorithm.distiller.teacher] if algorithm.get("distiller") else [])


def needs_its_size(cfg, name):
    """Whether 224 pixels are needed: for windows of 7x7, or as a loss has said the grids."""
    distiller = (cfg.get("algorithm") or {}).get("distiller") or {}
    losses = [loss for component in distiller.get("components", ()) for loss in component.losses]
    grids = any(loss.get("query_hw") or loss.get("stage_shapes") for loss in losses)
    if "coco" in name:
        return False
    return grids or "swin" in name or "mixer" in name


def resize(node, side):
    """Every size in a pipeline that says how large images become."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("img_scale", "crop_size", "size") and value not in (None, 32):
                many = isinstance(value, list)
                node[key] = [(side, side)] * len(value) if many else (side, side)
            else:
                resize(value, side)
    elif isinstance(node, (list, tuple)):
        for item in node:
            resize(item, side)


# --------------------------------------------------------------------------- models
@pytest.fixture
def no_downloads(monkeypatch):
    """No pretrained weights: there is no network in a test."""
    import freekd.distill.algorithms as algorithms
    import freekd.distill.prompt_teacher as prompt_teacher
    from freekd.distill.weights import without_pretrained
    from freekd.engine import build
    from freekd.zoo import stock

    def bare(reference, key):
        return without_pretrained(stock.read_model(reference, key))

    monkeypatch.setattr(algorithms, "resolve_model", bare)
    monkeypatch.setattr(prompt_teacher, "resolve_model", bare)
    build_model = build.build_model

    def build_bare(cfg, task):
        if cfg.get("model") is not None:
            cfg.model = bare(cfg.model, "model")
        return build_model(cfg, task)

    monkeypatch.setattr(build, "build_model", build_bare)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """From a model's config to a checkpoint of it with random weights, and their fingerprint.

    Several pairs have one teacher; each is made once.
    """
    folder, made = tmp_path_factory.mktemp("teachers"), {}

    def make(model):
        from mmrazor.models.builder import MODELS

        from freekd.distill.weights import without_pretrained
        from freekd.prompts.file import fingerprint
        from freekd.zoo.stock import read_model

        if repr(model) not in made:
            torch.manual_seed(0)
            teacher = MODELS.build(without_pretrained(read_model(model, "teacher")))
            teacher.init_weights()
            path = folder / f"{len(made)}.pth"
            torch.save(dict(state_dict=teacher.state_dict()), str(path))
            made[repr(model)] = str(path), fingerprint(teacher)
        return made[repr(model)]

    yield make
    for path, _ in made.values():  # two gigabytes
        os.remove(path)


def prompt_file(teacher_fingerprint, loss, component, folder):
    """Prompts as stage 1 would leave them for this teacher and this loss."""
    from freekd.prompts.file import save_prompts
    from freekd.prompts.prompts import FrequencyPrompts
    from freekd.prompts.spec import PromptSpec

    asked = {
        key: loss[key]
        for key in ("num_prompts", "transform", "gate")
        if loss.get(key) not in (None, "auto")
    }
    spec = PromptSpec.build(loss.teacher_channels, loss.num_levels, **asked)
    path = folder / "prompts.pth"
    info = dict(
        teacher_module=component.teacher_module, teacher_fingerprint=teacher_fingerprint,
        levels=(component.get("levels") or {}).get("teacher"),
    )  # fmt: skip
    save_prompts(FrequencyPrompts(spec), str(path), info)
    return str(path)


def test_every_file_is_tried():
    """All that is no part of another config, however deep it lies."""
    found = {
        os.path.join(os.path.relpath(folder, ROOT), name)
        for folder, _, names in os.walk(ROOT / "configs")
        for name in names
        if name.endswith(".py") and f"{os.sep}_base_" not in folder
        if not folder.endswith(f"configs{os.sep}studies")  # these are no configs of a training
    }
    assert found == set(CONFIGS)
    assert {Path(name).parts[1] for name in CONFIGS} >= {"teacher", "prompt", "freekd", "baseline"}


@pytest.fixture
def read_once(monkeypatch):
    """The stock configs that many of ours name, read from their many files once."""
    from freekd.zoo import stock

    read = lru_cache(None)(stock.read_config)
    monkeypatch.setattr(stock, "read_config", lambda path: copy.deepcopy(read(path)))


def test_every_prompt_file_has_its_first_stage(read_once):
    """What the pairs read is what the configs of stage 1 write, all of it."""
    from freekd.config.load import default_work_dir, load_config

    made, read, teachers, taught_by = set(), set(), set(), set()
    for name in CONFIGS:
        cfg = load_config(str(ROOT / name))
        algorithm, kind = cfg.get("algorithm") or {}, Path(name).parts[1]
        work_dir = cfg.get("work_dir") or default_work_dir(name)
        if kind == "prompt":
            made.add(os.path.normpath(os.path.join(work_dir, "prompts.pth")))
            taught_by.add(algorithm.architecture.checkpoint)
        if kind == "teacher":
            teachers.add(os.path.normpath(os.path.join(work_dir, "latest.pth")))
        distiller = algorithm.get("distiller") or {}
        taught_by.add(distiller.get("teacher_checkpoint"))
        for component in distiller.get("components", ()):
            read |= {os.path.normpath(x.prompts) for x in component.losses if x.get("prompts")}
    assert made == read != set()
    teachers.remove("work_dirs/teacher/dino_swin_l_coco/latest.pth")  # mmdet 3.x has its weights
    # the scenes' teacher is trained with more classes, of which a converter keeps some
    made_of = {"work_dirs/scenes/teacher/digits.pth": "work_dirs/scenes/teacher/latest.pth"}
    local = {path for path in taught_by if path and not path.startswith("https://")}
    assert teachers == {made_of.get(path, path) for path in local}


# methods of one pair share the settings of its evaluation
SEGMENTORS = {
    Path(name).stem: name
    for name in CONFIGS
    if any(word in name for word in ("cityscapes", "ade20k", "_seg"))
}.values()


@pytest.mark.parametrize("config", SEGMENTORS)
def test_segmentors_keep_no_label_maps(config):
    """Without pre_eval, mmseg keeps a full-size map of every image until the last."""
    from freekd.config.load import load_config

    assert load_config(str(ROOT / config)).evaluation.pre_eval is True


@pytest.mark.parametrize("config", CONFIGS)
def test_a_pair_is_short(config):
    text = (ROOT / config).read_text()
    if "pair = dict(" in text or "prompt = dict(" in text:
        assert len(text.splitlines()) <= 15
        assert "model = dict(" not in text


METHODS = [name for name in CONFIGS if Path(name).parts[1] in cards()]


@pytest.mark.parametrize("config", METHODS)
def test_a_method_and_a_pair_are_two_things(config):
    """A method's config has two statements: whose pair it is, and what is taught."""
    statements = ast.parse((ROOT / config).read_text()).body[1:]
    assert [node.targets[0].id for node in statements] == ["_base_", "pair"]
    said = {keyword.arg for keyword in statements[1].value.keywords}
    assert said <= {"losses", "inherit"}


@lru_cache(None)
def base_of(config):
    return ast.literal_eval(ast.parse((ROOT / config).read_text()).body[1].value)[0]


def is_variant(config):
    """Whether a config of COCO or ImageNet changes one thing of another, as ablations do.

    It lies beside the other, or has another method on the very pair of a config of FreeKD. Of
    several methods on one pair of ImageNet, the first is none.
    """
    base = base_of(config)
    if "imagenet" in config and "pairs/" in base:
        return base in map(base_of, CONFIGS[: CONFIGS.index(config)])
    others = [name for name in CONFIGS if name.startswith("configs/freekd/")]
    again = "pairs/" in base and config not in others and base in map(base_of, others)
    beside = not base.startswith("../")
    return ("coco" in config and (again or beside)) or ("imagenet" in config and beside)


# A step of these takes 5 to 9 GB: in the fast suite they are built and checked, as before training
SWIN_CLASSIFIERS = [name for name in CONFIGS if "swin_large" in name or "swin_base" in name]
LARGE = SWIN_CLASSIFIERS + [name for name in CONFIGS if "dino_swin_l" in name]

# CIFAR-100 at 224 pixels takes a step 10 seconds with these; the Swin and ViT pairs are fast ones.
# ADE20K's as long, with the projectors of the pair on Cityscapes, which is a fast one
HEAVY = [
    name for name in CONFIGS
    if "cifar100" in name and any(word in name for word in ("mixer", "convnext", "resnet50"))
    or "ade20k" in name
]  # fmt: skip

# tests/test_ablations.py looks at each variant's own part at every run
STEPS = [
    pytest.param(c, marks=pytest.mark.slow) if is_variant(c) or c in LARGE + HEAVY else c
    for c in CONFIGS
]


def test_which_configs_are_variants():
    """Every pair is trained for a step in the fast suite, FourierKD's with their own rates too.

    But the large ones.
    """
    slow = {name for name in CONFIGS if is_variant(name)}
    assert {"configs/cwd/reppoints_x101_r50_coco.py", "configs/pkd/reppoints_x101_r50_coco.py",
            "configs/freekd/reppoints_x101_r50_coco_dct.py"} <= slow  # fmt: skip
    assert not any(name.startswith("configs/fourierkd/") for name in slow)
    pairs = {base_of(name) for name in CONFIGS if "pairs/" in base_of(name)}
    assert pairs == {base_of(name) for name in set(CONFIGS) - slow if "pairs/" in base_of(name)}
    assert 8 <= len(HEAVY) <= 12 and len(set(CONFIGS) - slow - {*LARGE, *HEAVY}) > 80


@pytest.mark.parametrize("config", SWIN_CLASSIFIERS)
def test_a_large_pair_fits(config, monkeypatch, no_downloads):
    """With fewer blocks in the teacher, whose widths and stages are what counts for the taps."""
    from freekd.config.load import load_config
    from freekd.engine import build
    from freekd.zoo.stock import read_model

    monkeypatch.chdir(ROOT)
    cfg = load_config(config)
    distiller = cfg.algorithm.distiller
    distiller.teacher = read_model(distiller.teacher, "teacher")
    heads = dict(base=4, large=6)[distiller.teacher.backbone.arch]
    distiller.teacher.backbone.arch = dict(
        embed_dims=32 * heads, depths=[2, 2, 2, 2], num_heads=[heads * 2**i for i in range(4)]
    )
    distiller.teacher_checkpoint = None
    algorithm = build.build_model(cfg, "cls")
    found = algorithm.distiller.check_shapes(algorithm.architecture.model, (3, 224, 224))
    assert set(found) == {loss.name for c in distiller.components for loss in c.losses}
    assert all(p.requires_grad for p in algorithm.distiller.losses.parameters())


@pytest.mark.parametrize("config", STEPS)
def test_one_step(config, data_root, teachers, tmp_path, monkeypatch, no_downloads):
    from freekd.config.load import load_config
    from freekd.engine.train import train

    monkeypatch.chdir(ROOT)
    cfg = load_config(config)
    point_to(cfg, config, data_root)
    make_sam_small(cfg, config, teachers)
    if "algorithm" in cfg:
        distiller = cfg.algorithm.get("distiller")
        part = distiller or cfg.algorithm.architecture
        teacher = part.get("teacher", part.get("model"))
        if teacher is not None:
            weights, mark = teachers(teacher)
            part["teacher_checkpoint" if distiller else "checkpoint"] = weights
        for component in distiller.components if distiller else ():
            for loss in component.losses:
                if loss.get("prompts"):
                    loss.prompts = prompt_file(mark, loss, component, tmp_path)
    key = "max_epochs" if "max_epochs" in cfg.runner else "max_iters"
    cfg.runner[key] = 1
    cfg.data.train.pop("times", None)
    cfg.work_dir, cfg.device, cfg.seed = str(tmp_path / "run"), "cpu", 0
    runner = train(cfg, validate=False)
    made = "digits" in config or "scenes" in config  # of the bundled data sets' batches
    log = runner.outputs["log_vars"]
    learning = [(n, p) for n, p in runner.model.module.named_parameters() if p.requires_grad]
    assert not [n for n, p in learning if p.grad is None]  # else several processes would wait
    assert runner.iter == (1 if made or key == "max_iters" else 2)
    assert torch.isfinite(torch.tensor(log["loss"]))
    state = load_checkpoint_file(tmp_path / "run" / "latest.pth")["state_dict"]
    assert all(bool(torch.isfinite(v).all()) for v in state.values() if v.is_floating_point())
    assert (tmp_path / "run" / "prompts.pth").is_file() == config.startswith("configs/prompt")
    if config.startswith("configs/freekd"):  # the student is there, the teacher is not
        assert any(name.startswith("architecture.model.") for name in state)
        assert not any("teacher" in name for name in state)
        alone = any(name.startswith("student.") for name in log)  # else there is no task loss
        assert log["ratio.freekd"] > 0 if alone else "ratio.freekd" not in log
        expected = {loss.name for c in cfg.algorithm.distiller.components for loss in c.losses}
        terms = {name.split(".")[1] for name in log if name.startswith("distiller.")}
        assert terms == expected


# --------------------------------------------------------------------------- published settings
BOTH = dict(fourierkd=("neck", 7.0), iou_aware=("bbox_head", 1.5))
PUBLISHED = {  # of FourierKD: rate, epochs or iterations, and for each term tap and weight
    "reppoints_x101_r50_coco": (0.01, 24, BOTH),
    "faster_rcnn_r101_r50_coco": (0.02, 24, dict(BOTH, iou_aware=("rpn_head", 1.5))),
    "reppoints_r50_retinanet_r18_coco": (0.01, 12, dict(fourierkd=("neck", 7.0))),
    "reppoints_r50_retinanet_mobilenetv2_coco": (0.01, 12, dict(fourierkd=("neck", 7.0))),
    "retinanet_r101_r50_coco": (0.01, 24, BOTH),
    "retinanet_x101_r50_coco": (0.01, 24, BOTH),
    "retinanet_pvtv2_b2_r50_coco": (0.01, 24, BOTH),
    "pspnet_r101_pspnet_r18_cityscapes": (0.02, 40000, dict(fourierkd=("backbone.layer4", 41.0))),
    "pspnet_r101_deeplabv3_r18_cityscapes": (
        0.02, 40000, dict(fourierkd=("backbone.layer4", 41.0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name):
    """What the authors' configs say, and what the paper says of the pairs that have none."""
    from freekd.config.load import load_config

    rate, length, terms = PUBLISHED[name]
    cfg = load_config(str(ROOT / "configs" / "fourierkd" / f"{name}.py"))
    assert cfg.optimizer.type == "SGD" and cfg.optimizer.lr == rate
    assert cfg.runner.get("max_epochs", cfg.runner.get("max_iters")) == length
    assert cfg.lr_config.get("step") == {24: [16, 22], 12: [8, 11]}.get(length)
    assert cfg.lr_config.get("warmup_iters") == (500 if length < 100 else None)
    assert cfg.optimizer_config.grad_clip == dict(max_norm=35, norm_type=2)  # no bound is published
    found = {
        loss.name[len("loss_") :]: (component.student_module, loss.loss_weight)
        for component in cfg.algorithm.distiller.components
        for loss in component.losses
    }
    assert found == terms
    for component in cfg.algorithm.distiller.components:
        assert component.student_module == component.teacher_module
    if "cityscapes" in name:
        loss = cfg.algorithm.distiller.components[0].losses[0]
        assert (loss.student_channels, loss.teacher_channels, loss.num_levels) == (512, 2048, 1)
        assert cfg.data.train.pipeline[3].crop_size == (512, 512)


CLASSIFIERS = {  # of the classification methods: the options of each pair
    "resnet34_resnet18_imagenet": dict(
        kd=dict(tau=1, alpha=0.5), dkd=dict(tau=1, alpha=1, beta=0.5), wsld=dict(tau=2, alpha=2.5),
        nkd=dict(tau=1, gamma=1.5), srrl=dict(alpha=1, beta=1),
        mgd=dict(mask="channel", mask_share=0.15, loss_weight=7e-5),
    ),
    "resnet50_mobilenetv2_imagenet": dict(
        nkd=dict(tau=1, gamma=1.5), mgd=dict(mask="channel", mask_share=0.15, loss_weight=7e-5)
    ),
    "deit_small_deit_tiny_imagenet": dict(nkd=dict(tau=1, gamma=1)),
    "swin_large_deit_base_imagenet": dict(nkd=dict(tau=1, gamma=1)),
    "resnet34_resnet18_cifar100": dict(nkd=dict(tau=3, gamma=3.5)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "method"), [(pair, method) for pair in CLASSIFIERS for method in CLASSIFIERS[pair]]
)
def test_published_settings_of_classifiers(pair, method):
    from freekd.config.load import load_config
    from freekd.zoo.stock import read_model

    cfg = load_config(str(ROOT / "configs" / method / f"{pair}.py"))
    (component,) = cfg.algorithm.distiller.components
    (loss,) = component.losses
    expected = CLASSIFIERS[pair][method]
    assert {name: loss[name] for name in expected} == expected
    clip = (cfg.optimizer_config.get("grad_clip") or {}).get("max_norm")
    epochs, steps = cfg.runner.max_epochs, cfg.lr_config.get("step")
    if "deit" in pair:
        assert (cfg.optimizer.type, epochs) == ("AdamW", 300)
        student = read_model(cfg.algorithm.architecture.model, "student")
        mixed = {one["type"] for one in student["train_cfg"]["augments"]}
        assert mixed == {"BatchMixup", "BatchCutMix"}
    elif "imagenet" in pair:
        assert (cfg.optimizer.type, cfg.optimizer.lr, epochs) == ("SGD", 0.1, 100)
        assert steps == [30, 60, 90] and cfg.data.samples_per_gpu == 32
        assert clip == (5.0 if "mobilenet" in pair else None)
    else:
        assert (cfg.optimizer.type, cfg.optimizer.lr, epochs) == ("SGD", 0.1, 200)
