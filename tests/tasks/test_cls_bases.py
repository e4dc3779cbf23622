"""The bases for ImageNet and CIFAR-100: their data is read, their optimizers can be built."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.engine import datasets, optimizers

BASES = Path(__file__).resolve().parents[2] / "configs" / "_base_"
SETTINGS = {  # optimizer, rate, decay, epochs, images of a process
    "imagenet_100e": ("SGD", 0.1, 1e-4, 100, 32),
    "imagenet_vit_300e": ("AdamW", 1e-3, 0.05, 300, 128),
    "imagenet_lamb_300e": ("Lamb", 5e-3, 0.02, 300, 256),
    "cifar100_200e": ("SGD", 0.1, 5e-4, 200, 128),
    "cifar100_224_300e": ("SGD", 0.05, 2e-3, 300, 128),
}


class Small(nn.Module):
    """The kinds of parameters that the recipes tell apart."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.backbone.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.backbone.norm = nn.LayerNorm(4)
        self.backbone.fc = nn.Linear(4, 4)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_schedule_is_that_of_the_recipe(name):
    kind, rate, decay, epochs, images = SETTINGS[name]
    cfg = load.load_config(str(BASES / f"{name}.py"))
    model = Small()
    optimizer = optimizers.build_optimizer(model, cfg.optimizer, cfg.task)
    assert (cfg.task, type(optimizer).__name__, cfg.runner.max_epochs) == ("cls", kind, epochs)
    assert cfg.data.samples_per_gpu == images and cfg.get("sampler") is None
    found = {}
    for group in optimizer.param_groups:
        assert group["lr"] == rate
        found.update({id(p): group["weight_decay"] for p in group["params"]})
    plain = kind == "SGD"  # the others spare norms and biases, AdamW's tokens and positions too
    backbone = model.backbone
    assert found[id(backbone.fc.weight)] == decay
    for parameter in (backbone.fc.bias, backbone.norm.weight, backbone.norm.bias):
        assert found[id(parameter)] == (decay if plain else 0)
    for parameter in (backbone.cls_token, backbone.pos_embed):
        assert found[id(parameter)] == (0 if kind == "AdamW" else decay)
    before = backbone.fc.weight.detach().clone()
    backbone.fc(backbone.norm(torch.randn(3, 4))).sum().backward()
    optimizer.step()
    assert not torch.equal(before, backbone.fc.weight)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder for each of 1000 classes, four of them with a picture, and a list of these."""
    folder = tmp_path_factory.mktemp("imagenet")
    random, lines = np.random.RandomState(0), []
    for label in range(1000):
        (folder / f"n{label:08d}").mkdir()
        if label % 250 == 1:
            pixels = random.randint(0, 255, (60, 80, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"n{label:08d}" / "a.JPEG"), pixels)
            lines.append(f"n{label:08d}/a.JPEG {label}\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("name", [name for name in SETTINGS if "imagenet" in name])
def test_imagenet_is_read(name, pictures):
    cfg = load.load_config(str(BASES / f"{name}.py"))
    assert "ln -s" in cfg.data_help
    assert cfg.data.val.ann_file == "data/imagenet/meta/val.txt"
    for split, listed in (("train", None), ("val", str(pictures / "list.txt"))):
        cfg.data[split].update(data_prefix=str(pictures), ann_file=listed)
        dataset = datasets.build_dataset(cfg.data[split], "cls", test_mode=split == "val")
        assert len(dataset) == 4 and len(dataset.CLASSES) == 1000
        assert dataset.get_gt_labels().tolist() == [1, 251, 501, 751]
        assert dataset[3]["img"].shape == (3, 224, 224)
    assert datasets.build_dataset(cfg.data.train, "cls")[3]["gt_label"] == 751


@pytest.mark.parametrize(("name", "side"), [("cifar100_200e", 32), ("cifar100_224_300e", 224)])
def test_cifar100_is_read(name, side, tmp_path, monkeypatch):
    """As the archive packs it: rows of 3 x 32 x 32 bytes, red first; the picture keeps them."""
    from mmcls.datasets import CIFAR100

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    rows = np.zeros((2, 3072), np.uint8)
    rows[0, :1024] = 200  # red alone
    names = dict(fine_label_names=[f"class {i}" for i in range(100)])
    for file, content in (
        ("train", {"data": rows, "fine_labels": [7, 99]}),
        ("test", {"data": rows, "fine_labels": [3, 4]}),
        ("meta", names),
    ):
        (folder / file).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(CIFAR100, "_check_integrity", lambda self: True)
    cfg = load.load_config(str(BASES / f"{name}.py"))
    monkeypatch.setattr("mmcls.datasets.cifar.check_integrity", lambda *_: True, raising=False)
    for split, labels in (("train", [7, 99]), ("val", [3, 4])):
        cfg.data[split].data_prefix = str(tmp_path)
        dataset = datasets.build_dataset(cfg.data[split], "cls", test_mode=split == "val")
        assert dataset.get_gt_labels().tolist() == labels and len(dataset.CLASSES) == 100
        image = dataset[0]["img"]
        assert image.shape == (3, side, side)
    middle = image[:, side // 2, side // 2]  # of red, by the set's own means and deviations
    expected = [(200 - 129.304) / 68.170, (0 - 124.070) / 65.392, (0 - 112.434) / 70.418]
    torch.testing.assert_close(
        middle.double(), torch.tensor(expected).double(), rtol=1e-4, atol=1e-4
    )
