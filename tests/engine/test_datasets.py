"""Datasets of every form that mmdet and mmseg allow, and the options of their loaders."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from mmcv import Config, ConfigDict

from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine import data, datasets, loader_options
from freekd.engine.sampler import SeededBatchSampler


@pytest.fixture
def cfg(tiny):
    return load.load_config(tiny.config("datasets"))


@pytest.fixture(scope="module")
def seg(tmp_path_factory):
    """Two folders of two and one images, where class 1 is the right half, and ``split`` files."""
    root = tmp_path_factory.mktemp("seg")
    label = np.zeros((16, 16), np.uint8)
    label[:, 8:] = 1
    for folder, names in (("a", "01"), ("b", "2")):
        (root / folder).mkdir()
        (root / f"{folder}_labels").mkdir()
        for name in names:
            cv2.imwrite(str(root / folder / f"{name}.png"), np.full((16, 16, 3), 99, np.uint8))
            cv2.imwrite(str(root / f"{folder}_labels" / f"{name}.png"), label)
        (root / f"{folder}.txt").write_text("\n".join(names) + "\n")
    one = dict(
        type="CustomDataset", data_root=str(root), img_dir="a", ann_dir="a_labels",
        img_suffix=".png", seg_map_suffix=".png", classes=("left", "right"),
        palette=[[0, 0, 0], [9, 9, 9]],
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="Collect", keys=["img"], meta_keys=["filename"]),
        ],
    )  # fmt: skip
    return ConfigDict(one)


def loader_of(cfg, split="val", task="det"):
    return datasets.build_eval_loader(cfg, split, task, distributed=False)


# --------------------------------------------------------------------------- forms of datasets
MIX = dict(
    type="MultiImageMixDataset",
    pipeline=[
        dict(type="Mosaic", img_scale=(32, 32)),
        dict(type="Resize", img_scale=(64, 64), keep_ratio=False),
        dict(type="RandomFlip", flip_ratio=0.5),
        dict(type="Pad", size_divisor=32),
        dict(type="Normalize", mean=[127.0] * 3, std=[64.0] * 3),
        dict(type="DefaultFormatBundle"),
        dict(type="Collect", keys=["img", "gt_bboxes", "gt_labels"]),
    ],
)


@pytest.mark.parametrize("form", ["list", "concatenated", "files", "repeated", "balanced", "mixed"])
def test_wrapped_datasets_train(cfg, form):
    """As many images as by hand, and draws that depend on their seed alone."""
    one, count = cfg.data.train, 7
    if form == "mixed":
        one = ConfigDict(one, pipeline=one.pipeline[:2])
    wrapped, length = {
        "list": ([one, one], 2 * count),
        "concatenated": (dict(type="ConcatDataset", datasets=[one, one, one]), 3 * count),
        "files": (dict(one, ann_file=[one.ann_file] * 2, img_prefix=[one.img_prefix] * 2), 14),
        "repeated": (dict(type="RepeatDataset", times=3, dataset=one), 3 * count),
        # both classes are in more than one of 100 images, so no image is taken twice
        "balanced": (dict(type="ClassBalancedDataset", oversample_thr=0.01, dataset=one), count),
        "mixed": (dict(MIX, dataset=one), count),
    }[form]
    before = str(wrapped)
    dataset = datasets.build_dataset(wrapped, "det")
    assert str(wrapped) == before
    assert len(dataset) == length and dataset.CLASSES == ("dark", "light")
    loaders = [data.build_train_loader(dataset, 2, 0, seed=3, by_epoch=True) for _ in range(2)]
    assert len(loaders[0]) == (length + 1) // 2
    np.random.seed(0)
    first = next(iter(loaders[0]))
    np.random.seed(1)
    again = next(iter(loaders[1]))
    assert first["img"].data[0].shape[0] == 2 and len(first["gt_bboxes"].data[0]) == 2
    assert torch.equal(first["img"].data[0], again["img"].data[0])


def test_rare_classes_are_repeated(cfg, tiny):
    """With t = 1, an image of a class in a share f of the images comes ceil(sqrt(1 / f)) times."""
    plain = datasets.build_dataset(cfg.data.train, "det")
    found = [set(plain.get_ann_info(index)["labels"].tolist()) for index in range(tiny.count)]
    share = {label: sum(label in one for one in found) / tiny.count for label in (0, 1)}
    times = [max(int(np.ceil(share[label] ** -0.5)) for label in one) for one in found]
    wrapped = dict(type="ClassBalancedDataset", oversample_thr=1.0, dataset=cfg.data.train)
    assert len(datasets.build_dataset(wrapped, "det")) == sum(times) > tiny.count


def test_class_aware_on_a_coco_file(cfg, tiny):
    """Its categories are numbered 1 and 2: mmdet's own list of images by class takes only 0, 1."""
    dataset = datasets.build_dataset(cfg.data.train, "det")
    with pytest.raises(KeyError):
        dataset.get_cat2imgs()
    options = dict(class_aware_sampler=dict(num_sample_class=1))
    sampler = SeededBatchSampler(dataset, 7, seed=0, by_epoch=False, **options)
    drawn = sum(([d.index for d in batch] for batch in itertools.islice(sampler, 2)), [])
    labels = [set(dataset.get_ann_info(index)["labels"].tolist()) for index in drawn]
    for epoch in (labels[:7], labels[7:]):  # one after the other, in an order drawn for each round
        for pair in zip(epoch[0:6:2], epoch[1:6:2]):
            assert any(0 in a and 1 in b for a, b in (pair, pair[::-1]))
    cfg.data.train.classes = ("light",)
    dataset = datasets.build_dataset(cfg.data.train, "det")  # annotations of "dark" do not count
    sampler = SeededBatchSampler(dataset, 7, seed=0, by_epoch=True, **options)
    assert {d.index for batch in sampler for d in batch} == set(range(len(dataset)))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_list_is_evaluated_part_by_part(cfg, split):
    """The images of both parts in a row, each part with the scores that it has alone."""
    one = cfg.data[split]
    cfg.data[split] = [ConfigDict(one, samples_per_gpu=2), ConfigDict(one, samples_per_gpu=3)]
    loader = loader_of(cfg, split)
    assert loader.batch_size == 3 and len(loader.dataset) == 14
    names = [meta["ori_filename"] for batch in loader for meta in batch["img_metas"][0].data[0]]
    assert names == [f"{number}.png" for number in range(7)] * 2
    assert "samples_per_gpu" in cfg.data[split][0]  # the config is left as it was
    truth = [datasets.build_dataset(one, "det", test_mode=True).get_ann_info(i) for i in range(7)]
    results = [
        [np.c_[t["bboxes"], np.ones(len(t["bboxes"]))][t["labels"] == k].astype(np.float32)
         for k in (0, 1)] for t in truth
    ]  # fmt: skip
    nothing = [[np.zeros((0, 5), np.float32)] * 2] * 6
    scores = loader.dataset.evaluate(results + results[:1] + nothing)
    assert scores["0_bbox_mAP"] == 1.0 and 0 <= scores["1_bbox_mAP"] < 1.0


@pytest.mark.parametrize("number", [1, 2])
def test_several_images_at_once(cfg, number):
    """Their pipeline ends as mmdet's does for batches; parts of a concatenation too."""
    cfg.data.val = dict(type="ConcatDataset", datasets=[cfg.data.val, cfg.data.val])
    cfg.data.val_dataloader = dict(samples_per_gpu=number)
    loader = loader_of(cfg)
    shapes = [
        tuple(image.shape) for batch in itertools.islice(loader, 2) for image in images(batch)
    ]
    assert shapes == [(number, 3, 64, 64)] * 2


def images(batch):
    """The tensors of a batch of evaluation, whether wrapped for several images or not."""
    return [image if torch.is_tensor(image) else image.data[0] for image in batch["img"]]


@pytest.mark.parametrize("form", ["list", "folders", "splits", "as a whole"])
def test_segmentation_in_parts(seg, form):
    second = ConfigDict(seg, img_dir="b", ann_dir="b_labels")
    folders = ConfigDict(seg, img_dir=["a", "b"], ann_dir=["a_labels", "b_labels"])
    dataset_cfg = {
        "list": [seg, second],
        "folders": folders,
        "splits": ConfigDict(seg, split=["a.txt", "a.txt"]),
        "as a whole": ConfigDict(folders, separate_eval=False),
    }[form]
    cfg = Config(dict(data=dict(workers_per_gpu=0, val=dataset_cfg)))
    for _ in range(2):  # mmseg takes separate_eval out of what it is given
        dataset = loader_of(cfg, task="seg").dataset
    assert len(dataset) == (4 if form == "splits" else 3)
    label = np.zeros((16, 16), np.int64)
    right, wrong = label.copy(), label
    right[:, 8:] = 1
    results = [dataset.pre_eval(right if i < 2 else wrong, i)[0] for i in range(len(dataset))]
    scores = dataset.evaluate(results)
    if form == "as a whole":
        # class 0: 2/3 of its 3 images right, 128 + 128 + 128 of 512 pixels; class 1: 256 of 384
        assert scores["mIoU"] == pytest.approx((384 / 512 + 256 / 384) / 2, abs=1e-4)
    else:
        assert scores["0_mIoU"] == 1.0
        assert scores["1_mIoU"] == pytest.approx((128 / 256 + 0) / 2)  # half of it is class 0


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda one: dict(type="RepeatDataset", times=2, dataset=one), "RepeatDataset has no"),
        (
            lambda one: dict(type="ClassBalancedDataset", oversample_thr=0.1, dataset=one),
            "ClassBalancedDataset has no 'evaluate'. Give the dataset inside it",
        ),
        (lambda one: dict(MIX, dataset=one), "MultiImageMixDataset has no"),
        (lambda one: [one, dict(type="RepeatDataset", times=2, dataset=one)], r"\.1: .*Repeat"),
        (lambda one: [one, [one, one]], r"\.1: .*concatenation.*in one list"),
        (lambda one: dict(one, type="CocoDatset"), "CocoDatset is not in the dataset registry"),
        (lambda one: dict(one, ann_file=[one.ann_file], img_prefix=[]), "IndexError"),
        (lambda one: "val", "data.val: The dataset cannot be built"),
        (lambda one: 7, "data.val: The dataset cannot be built"),
        (lambda one: [], "data.val: The dataset cannot be built"),
        (lambda one: dict(one, pipeline=3), "data.val: The dataset cannot be built"),
        (lambda one: dict(one, samples_per_gpu="two"), "samples_per_gpu: .*at least 1.*got 'two'"),
        (
            lambda one: dict(one, ann_file=[one.ann_file] * 2, separate_eval=False),
            "NotImplementedError.*separate_eval=True",
        ),
    ],
)
def test_what_cannot_be_evaluated(cfg, wrap, words):
    cfg.data.val = wrap(cfg.data.val)
    with pytest.raises(ConfigError, match=r"^data\.val.*" + words.replace("data.val: ", "")):
        loader_of(cfg)


def test_cityscapes_cannot_be_concatenated(seg):
    """mmseg's own word, in training too."""
    one = ConfigDict(seg, type="CityscapesDataset", classes=None, palette=None)
    with pytest.raises(ConfigError, match=r"data.train: .*ConcatDataset containing Cityscapes"):
        datasets.build_dataset([one, one], "seg")


# --------------------------------------------------------------------------- options of loaders
def test_where_options_are_read():
    both = dict(samples_per_gpu=4, workers_per_gpu=1, train=None, val=None, test=None)
    cfg = Config(dict(data=dict(both, pin_memory=True, persistent_workers=True)))
    found = dict(samples_per_gpu=4, workers_per_gpu=1, persistent_workers=True)
    assert (
        loader_options.train_loader_options(cfg, "det") == found
    )  # mmdet passes by pin_memory there
    assert loader_options.train_loader_options(cfg, "seg") == dict(found, pin_memory=True)
    cfg.data.train_dataloader = dict(
        samples_per_gpu=8, num_gpus=1, prefetch_factor=None, class_aware_sampler=dict()
    )
    found.update(samples_per_gpu=8, class_aware_sampler={})
    assert loader_options.train_loader_options(cfg, "det") == found
    assert loader_options.train_loader_options(Config(dict(data=dict())), "det") == dict(
        samples_per_gpu=2, workers_per_gpu=2
    )
    cfg = Config(dict(data=dict(imgs_per_gpu=3)))
    assert loader_options.train_loader_options(cfg, "det")["samples_per_gpu"] == 3


WRONG = [
    ("samples_per_gpu", 0, "an integer of at least 1.*got 0"),
    ("samples_per_gpu", True, "an integer of at least 1.*got True"),
    ("workers_per_gpu", -1, "an integer of at least 0.*got -1"),
    ("workers_per_gpu", None, "an integer of at least 0.*got None"),
    ("shuffle", 1, "True or False, got 1"),
    ("drop_last", "yes", "True or False, got 'yes'"),
    ("pin_memory", None, "True or False"),
    ("prefetch_factor", 0, "None or an integer of at least 1"),
    ("timeout", "1", "a number of seconds"),
    ("multiprocessing_context", "thread", "'fork'"),
    ("class_aware_sampler", dict(num_sample_class=1.5), r"dict\(num_sample_class=N\)"),
    ("class_aware_sampler", dict(num_sample_clas=1), r"dict\(num_sample_class=N\)"),
    ("class_aware_sampler", True, r"dict\(num_sample_class=N\)"),
    ("num_gpus", 2, "dist_train.sh"),
    ("num_gpus", None, "dist_train.sh"),
    ("seed", 3, "the order depends on the run's seed: give --seed"),
    ("dist", True, "the launcher decides it"),
    ("runner_type", "IterBasedRunner", "the config key runner"),
    ("sampler", None, "see shuffle and class_aware_sampler"),
    ("batch_sampler", None, "samples_per_gpu"),
    ("batch_size", 2, "its name is samples_per_gpu"),
    ("num_workers", 2, "its name is workers_per_gpu"),
    ("collate_fn", None, "mmcv's collate"),
    ("worker_init_fn", None, "a seed of its own"),
    ("generator", None, "--seed"),
    ("dataset", None, "one of samples_per_gpu, .*; the nearest known key is"),
    ("suffle", False, "the nearest known key is shuffle"),
    ("persistent_worker", False, "the nearest known key is persistent_workers"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_options_that_mean_nothing_are_named(cfg, name, value, words):
    for split in ("train", "val", "test"):
        cfg.data[f"{split}_dataloader"] = {name: value}
        if split != "train" and name in ("shuffle", "drop_last", "class_aware_sampler"):
            words = "expected (False|None), as"  # no other value counts there
        with pytest.raises(ConfigError, match=rf"data.{split}_dataloader.{name}: .*{words}"):
            if split == "train":
                loader_options.train_loader_options(cfg, "det")
            else:
                loader_of(cfg, split)
    if name in ("samples_per_gpu", "suffle"):
        with pytest.raises(ConfigError, match=rf"data.{name}: .*{words}"):
            loader_options.train_loader_options(Config(dict(data={name: value})), "seg")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("shuffle", True, "expected False"),
        ("drop_last", True, "expected False"),
        ("class_aware_sampler", dict(num_sample_class=1), "expected None"),
    ],
)
def test_in_evaluation_every_image_counts_once(cfg, name, value, words):
    cfg.data.val_dataloader = {name: value}
    with pytest.raises(ConfigError, match=rf"data.val_dataloader.{name}: {words}"):
        loader_of(cfg)
    cfg.data.val_dataloader = dict(shuffle=False, drop_last=False, class_aware_sampler=None)
    assert len(loader_of(cfg)) == 7


@pytest.mark.parametrize("value", [3, "a", [dict(samples_per_gpu=1)]])
def test_a_loader_is_a_dict(cfg, value):
    cfg.data.train_dataloader = cfg.data.val_dataloader = value
    with pytest.raises(ConfigError, match="data.train_dataloader: expected a dict of samples_per"):
        loader_options.train_loader_options(cfg, "det")
    with pytest.raises(ConfigError, match="data.val_dataloader: expected a dict of samples_per"):
        loader_of(cfg)


def test_misspelt_in_data():
    cfg = Config(dict(data=dict(sample_per_gpu=4)))
    with pytest.raises(ConfigError, match="data.sample_per_gpu: expected data.samples_per_gpu"):
        loader_options.train_loader_options(cfg, "det")


@pytest.mark.parametrize("workers", [0, 1])
def test_options_of_torchs_loader_in_evaluation(cfg, workers):
    cfg.data.val_dataloader = dict(
        workers_per_gpu=workers, persistent_workers=True, prefetch_factor=3, timeout=60,
        multiprocessing_context="fork", pin_memory=False, num_gpus=1,
    )  # fmt: skip
    loader = loader_of(cfg)
    assert loader.num_workers == workers and loader.persistent_workers == (workers > 0)
    assert [meta["ori_filename"] for batch in loader for meta in batch["img_metas"][0].data[0]] == [
        f"{number}.png" for number in range(7)
    ]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("iterations", "class_aware_sampler=dict(num_sample_class=1), samples_per_gpu=2"),
        ("epochs", "drop_last=True, workers_per_gpu=1, persistent_workers=True"),
    ],
)
def test_a_run_with_these_options_resumes_exactly(tiny, tmp_path, kind, options):
    from freekd.engine.train import main

    extra = f"data['train_dataloader'] = dict({options})\ndata['val'] = [data['val']] * 2\n"
    config = tiny.config(f"options_{kind}", kind, extra=extra)
    middle, last = ("epoch_1", "epoch_2") if kind == "epochs" else ("iter_3", "iter_6")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = [config, "--seed", "3", "--device", "cpu"]
    assert main([*common, "--work-dir", str(whole)]) == 0
    more = ["--no-validate", "--resume-from", str(whole / f"{middle}.pth")]
    assert main([*common, "--work-dir", str(parts), *more]) == 0
    one, two = (
        torch.load(str(folder / f"{last}.pth"), weights_only=True)["state_dict"]
        for folder in (whole, parts)
    )
    assert not [key for key in one if not torch.equal(one[key], two[key])]
    lines = [json.loads(line) for line in next(whole.glob("*.log.json")).read_text().splitlines()]
    assert [line["iter"] for line in lines if line.get("mode") == "val"][-1] == 2 * tiny.count


@pytest.mark.parametrize("workers", [0, 1])
def test_segmentation_of_several_images_needs_one_size(seg, workers):
    folder = Path(seg.data_root)
    cv2.imwrite(str(folder / "b" / "9.png"), np.zeros((16, 12, 3), np.uint8))
    cfg = Config(dict(data=dict(workers_per_gpu=workers, val=ConfigDict(seg, ann_dir=None))))
    cfg.data.val.pipeline[2].meta_keys = ["ori_shape"]
    cfg.data.val_dataloader = dict(samples_per_gpu=2)
    (batch,) = loader_of(cfg, task="seg")
    assert batch["img"].shape == (2, 3, 16, 16)
    cfg.data.val.img_dir = "b"
    with pytest.raises(
        ConfigError, match=r"^data.val_dataloader.samples_per_gpu: .*16, 16.* and .*"
    ):
        next(iter(loader_of(cfg, task="seg")))
    (folder / "b" / "9.png").unlink()
