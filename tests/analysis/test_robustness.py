"""mPC and rPC: against hand arithmetic, and against an ordinary test on corrupted files."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

from freekd.analysis.robustness import corruptions, entry, evaluate, images, store, table
from freekd.analysis.robustness.images import corrupt_dataset, image_name
from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine import build, datasets
from freekd.engine.test import main as ordinary_test

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("imagecorruptions", reason=f"not installed: {corruptions.INSTALL}")

# Any overlap counts, so that random weights have a score.
LENIENT = "evaluation = dict(metric='bbox', iou_thrs=[0.05], metric_items=['mAP'])\n"


@pytest.fixture(scope="module")
def det(tiny, tmp_path_factory):
    """A config, and two checkpoints of random weights that detect something."""
    from mmcv.runner import save_checkpoint

    folder = tmp_path_factory.mktemp("det")
    config = tiny.config("robust", extra=LENIENT)
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = build.build_model(load.load_config(config), "det")
        torch.nn.init.constant_(model.bbox_head.retina_cls.bias, 0.0)
        save_checkpoint(model, str(folder / f"{name}.pth"))
    return SimpleNamespace(config=config, folder=folder, first=str(folder / "first.pth"),
                           second=str(folder / "second.pth"))  # fmt: skip


SOME = ["--corruptions", "fog", "gaussian_noise", "--severities", "2", "5", "--device", "cpu"]


def robust(det, out, *checkpoints, options=SOME):
    names = checkpoints or (det.first, det.second)
    return entry.main([det.config, *map(str, names), *options, "--out", str(out)])


def read(out):
    return json.loads((out / "robustness.json").read_text())


@pytest.fixture(scope="module")
def whole(det, tmp_path_factory):
    """The table of both, made at once, and what was said."""
    out, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    with contextlib.redirect_stdout(said):
        assert robust(det, out, f"first={det.first}", f"second={det.config},{det.second}") == 0
    return SimpleNamespace(out=out, said=said.getvalue(), result=read(out))


# --------------------------------------------------------------------------- the numbers
def test_mpc_and_rpc_by_hand():
    """mPC = ((.4 + .2) / 2 + (.1 + .0) / 2) / 2 = (.3 + .05) / 2 = .175; rPC = .175 / .5 = .35."""
    scores = {"fog": {"1": 0.4, "2": 0.2}, "snow": {"1": 0.1, "2": 0.0}}
    assert table.summary(0.5, scores) == {"mPC": 0.175, "rPC": 0.35}
    assert table.summary(0.0, scores) == {"mPC": 0.175, "rPC": None}


def test_the_table(whole):
    result, said = whole.result, whole.said
    assert result["kind"] == "robustness" and result["task"] == "det"
    assert result["metric"] == "bbox_mAP" and result["data"].endswith("ann.json")
    assert result["corruptions"] == ["gaussian_noise", "fog"] and result["severities"] == [2, 5]
    assert [model["name"] for model in result["models"]] == ["first", "second"]
    for model in result["models"]:
        rows = model["scores"]
        assert {name: list(row) for name, row in rows.items()} == {
            "gaussian_noise": ["2", "5"], "fog": ["2", "5"],
        }  # fmt: skip
        mean = sum(rows[c][s] for c in rows for s in ("2", "5")) / 4
        assert model["mPC"] == pytest.approx(mean, abs=1e-9) and 0 < model["clean"] < 1
        assert model["rPC"] == pytest.approx(mean / model["clean"], abs=1e-9)
        assert f"{100 * mean / model['clean']:.1f} %" in said
    assert result["models"][0]["scores"] != result["models"][1]["scores"]
    assert result["command"].startswith("python tools/analysis/robustness.py ")
    assert result["versions"]["torch"] and result["pictures"] == ["robustness.png"]
    picture = cv2.imread(str(whole.out / "robustness.png"))
    assert picture is not None and picture.std() > 5
    assert "annotations into memory" not in said and "[>>" not in said  # the hosts' own talk


def corrupted_files(source, folder, cell):
    """The images of a folder, corrupted and written without loss."""
    folder.mkdir()
    for path in sorted(source.glob("*.png")):
        image = corruptions.corrupt(cv2.imread(str(path)), path.name, *cell)
        cv2.imwrite(str(folder / path.name), image)


def test_a_score_is_that_of_corrupted_files(det, whole, tiny, tmp_path):
    """What ``tools/test.py`` says of images that were corrupted beforehand."""
    found = whole.result["models"][0]
    scores = {("clean", 0): found["clean"]}
    for name, severity in (("fog", 2), ("gaussian_noise", 5)):
        folder, file = tmp_path / f"{name}", tmp_path / f"{name}.json"
        corrupted_files(tiny.root / "images", folder, (name, severity))
        options = ["--cfg-options", f"data.test.img_prefix={folder}", "--json", str(file)]
        assert ordinary_test([det.config, det.first, "--device", "cpu", *options]) == 0
        wanted = json.loads(file.read_text())["metrics"]["bbox_mAP"]
        assert found["scores"][name][str(severity)] == wanted
        scores[name, severity] = wanted
    assert len(set(scores.values())) == 3  # the images do matter


# --------------------------------------------------------------------------- the images
def images_of(det, workers, samples, cell, order=None):
    cfg = load.load_config(det.config, {
        "data.workers_per_gpu": workers, "data.test_dataloader.samples_per_gpu": samples,
        "data.test_dataloader.workers_per_gpu": workers,
    })  # fmt: skip
    loader = datasets.build_eval_loader(cfg, "test", "det", False)
    for pipeline in corrupt_dataset(loader.dataset):
        pipeline.cell = cell
    if order is not None:
        return {i: loader.dataset[i]["img"][0].numpy() for i in order}
    found = []
    for batch in loader:
        img = batch["img"][0]
        found += list(img.data[0].numpy() if hasattr(img, "data") and not torch.is_tensor(img)
                      else img.numpy())  # fmt: skip
    return dict(enumerate(found))


def test_images_are_the_same_for_all(det, tiny):
    """For any number of workers, any batch size and any order; COCO-C's place: before resizing."""
    cell = ("gaussian_noise", 3)
    whole = images_of(det, 0, 1, cell)
    assert len(whole) == tiny.count
    for other in (images_of(det, 2, 1, cell), images_of(det, 0, 3, cell),
                  images_of(det, 0, 1, cell, order=range(tiny.count - 1, -1, -1))):  # fmt: skip
        assert all((whole[i] == other[i]).all() for i in whole) and len(other) == len(whole)
    clean = images_of(det, 0, 1, None)
    assert all((whole[i] != clean[i]).any() for i in whole)
    loaded = cv2.imread(str(tiny.root / "images" / "4.png"))
    made = corruptions.corrupt(loaded, "4.png", *cell)[..., ::-1]  # the config's to_rgb
    assert np.abs(whole[4] - (made.transpose(2, 0, 1) - 127.0) / 64.0).max() < 1e-5


def test_what_an_image_is_called(det):
    """Below its data set's folder; so that another root does not change its corruption."""
    assert image_name(dict(filename="/a/b/c.png", ori_filename="b\\c.png")) == "b/c.png"
    assert image_name(dict(filename=None, img_info=dict(filename="x.png"))) == "x.png"
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert image_name(dict(img=image)) == image_name(dict(img=image.copy()))
    assert image_name(dict(img=image)) != image_name(dict(img=image + 1))


def test_kept_images(monkeypatch):
    """Each is corrupted once in a cell; other pixels of one name are other images."""
    calls = []

    def counted(image, name, *cell, bgr):
        calls.append((name, cell))
        return image + 1

    monkeypatch.setattr(images, "corrupt", counted)
    kept, image = images.Kept(limit=2 * 12), np.zeros((2, 2, 3), np.uint8)
    first = kept.get(image, "a", ("fog", 1), True)
    first += 5  # as a step of the pipeline may
    assert (kept.get(image, "a", ("fog", 1), True) == 1).all() and len(calls) == 1
    kept.get(image + 1, "a", ("fog", 1), True)
    assert len(calls) == 2  # and now it is full
    for _ in range(2):
        assert (kept.get(image, "b", ("fog", 1), True) == 1).all()
    assert len(calls) == 4 and kept.size == 24
    kept.get(image, "a", ("fog", 2), True)
    assert calls[-1] == ("a", ("fog", 2)) and kept.size == 12


def test_wrapped_data_sets_and_pipelines_without_images(det):
    parts = [SimpleNamespace(pipeline=SimpleNamespace(transforms=[])) for _ in range(2)]
    whole = SimpleNamespace(datasets=[parts[0], SimpleNamespace(dataset=parts[1])])
    found = corrupt_dataset(whole)
    assert len(found) == 2 and corrupt_dataset(whole) == found  # once
    found[0].cell = ("fog", 1)
    with pytest.raises(ConfigError, match="a step that loads one image"):
        found[0]({})
    with pytest.raises(ConfigError, match="a pipeline of steps"):
        corrupt_dataset(SimpleNamespace())


# --------------------------------------------------------------------------- interruptions
def test_an_interrupted_command_goes_on(det, whole, tmp_path, monkeypatch, capsys):
    stock, calls = evaluate.evaluate, []

    def counted(ready, distributed=False):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(1)
        return stock(ready, distributed)

    monkeypatch.setattr(evaluate, "evaluate", counted)
    stop = 7
    assert robust(det, tmp_path) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert len(list((tmp_path / "robustness_scores").rglob("*.json"))) == 7
    assert not (tmp_path / "robustness.json").exists()
    stop = -1
    assert robust(det, tmp_path) == 0
    assert len(calls) == 10  # (1 clean + 2 x 2) x 2 checkpoints, none of them twice
    result = read(tmp_path)
    assert robust(det, tmp_path) == 0 and len(calls) == 10 and read(tmp_path) == result
    for ours, at_once in zip(result["models"], whole.result["models"]):
        assert ours == at_once


def test_parts_of_several_machines(det, whole, tmp_path, capsys):
    """Each does its part; the command without --shard finds all of it."""
    for part in ("1/2", "2/2"):
        assert robust(det, tmp_path, options=[*SOME, "--shard", part]) == 0
        assert not (tmp_path / "robustness.json").exists()
    capsys.readouterr()
    assert robust(det, tmp_path) == 0
    assert "left]" not in capsys.readouterr().out  # nothing was computed
    assert read(tmp_path)["models"] == whole.result["models"]


def test_other_results_are_not_overwritten(det, whole, tmp_path, capsys):
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    file, both = tmp_path / "robustness.json", [det.first, det.second]
    for models, change, words in (
        ([det.second], [], "the model 'first'"),
        (both, ["--severities", "2"], "fog of severity 5, which"),
        (both, ["--as-mmdet"], "the model 'first' with other settings"),
        (both, ["--metric", "bbox_mAP_50"], "the metric bbox_mAP, not bbox_mAP_50"),
    ):
        before = file.read_bytes()
        assert robust(det, tmp_path, *models, options=[*SOME, *change]) == 1
        assert words in capsys.readouterr().err
        assert file.read_bytes() == before
    assert robust(det, tmp_path, det.second, options=[*SOME, "--force"]) == 0
    assert [model["name"] for model in read(tmp_path)["models"]] == ["second"]
    assert robust(det, tmp_path) == 0  # another model beside it: nothing is lost
    assert "left]" not in capsys.readouterr().out  # nor computed again
    file.write_text("[]")
    assert robust(det, tmp_path) == 1
    assert "found something else" in capsys.readouterr().err


def test_channels_as_mmdet_has_them(det, tmp_path):
    """Other images, so another key; a mirrored order matters to coloured layers alone."""
    for number, more in enumerate(([], ["--as-mmdet"])):
        options = ["--corruptions", "jpeg_compression", "--severities", "5", "--device", "cpu"]
        assert robust(det, tmp_path / str(number), det.first, options=[*options, *more]) == 0
    first, second = (read(tmp_path / name) for name in "01")
    assert (first["channels"], second["channels"]) == ("RGB", "as loaded")
    assert first["models"][0]["clean"] == second["models"][0]["clean"]
    assert first["models"][0]["scores"] != second["models"][0]["scores"]


def test_a_changed_checkpoint_or_config_is_noticed(det, tmp_path):
    """By what is in the files, not by their names."""
    cfg = load.load_config(det.config)
    data = store.data_of(cfg, "det")
    key = store.key_of(cfg, det.first, data, {}, {})
    copy = tmp_path / "copy.pth"
    copy.write_bytes(Path(det.first).read_bytes())
    assert store.key_of(cfg, str(copy), data, {}, {}) == key
    assert store.key_of(cfg, det.second, data, {}, {}) != key
    assert store.key_of(cfg, det.first, data, dict(metric="segm"), {}) != key
    assert store.key_of(cfg, det.first, data, {}, dict(ema=True)) != key
    for change in ("model.test_cfg.score_thr=0.2", "data.test.pipeline.1.img_scale=(32, 32)"):
        name, value = change.split("=")
        value = eval(value)
        other = load.load_config(det.config, {name: value})
        assert store.key_of(other, det.first, data, {}, {}) != key


# --------------------------------------------------------------------------- what is refused
def test_two_data_sets_in_one_table(det, tiny, tmp_path, capsys):
    content = json.loads((tiny.root / "ann.json").read_text())
    content["annotations"][0]["bbox"][0] += 1
    (tmp_path / "other.json").write_text(json.dumps(content))
    extra = LENIENT + f"data['test']['ann_file'] = '{tmp_path / 'other.json'}'\n"
    config = tiny.config("robust_other", extra=extra)
    assert robust(det, tmp_path, det.first, f"b={config},{det.second}") == 1
    said = capsys.readouterr().err
    assert str(tiny.root / "ann.json") in said and str(tmp_path / "other.json") in said
    assert "'first'" in said and "'b'" in said
    # a copy elsewhere is the same data set
    (tmp_path / "other.json").write_bytes((tiny.root / "ann.json").read_bytes())
    options = ["--corruptions", "fog", "--severities", "1", "--device", "cpu"]
    assert robust(det, tmp_path, det.first, f"b={config},{det.second}", options=options) == 0


@pytest.mark.parametrize(
    "models, options, words",
    [
        (["{folder}/third.pth"], [], "holds first.pth, second.pth"),
        (["{first}", "first={second}"], [], "OTHER_NAME="),
        (["{first}", "a=no.py,{second}"], [], "Expected a config file at no.py"),
        (["{first}"], ["--corruptions", "frog"], "Did you mean 'fog'"),
        (["{first}"], ["--severities", "0"], "from 1 to 5, got 0"),
        (["{first}"], ["--metric", "mIoU", "--severities", "1"], "expected one of bbox_mAP"),
        (["{config}"], [], "is no torch checkpoint"),
    ],
)
def test_bad_input(det, tmp_path, capsys, models, options, words):
    names = [name.format(**vars(det)) for name in models]
    assert robust(det, tmp_path, *names, options=["--device", "cpu", *options]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "robustness.json").exists()


@pytest.mark.parametrize("option", [["--shard", "3/2"], ["--shard", "a"], ["--jobs", "0"]])
def test_wrong_options(det, tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        robust(det, tmp_path, options=option)
    assert option[0] in capsys.readouterr().err


def test_a_broken_score_is_said(det, whole, tmp_path, capsys):
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    file = next((tmp_path / "robustness_scores").rglob("fog_2.json"))
    file.write_text("{")
    assert robust(det, tmp_path) == 1
    assert file.name in capsys.readouterr().err


def test_nothing_detected_is_a_score_of_zero(det, tmp_path):
    options = [*SOME[:2], *SOME[3:], "--cfg-options", "model.test_cfg.score_thr=2.0"]
    assert robust(det, tmp_path, det.first, options=options) == 0
    model = read(tmp_path)["models"][0]
    assert model["clean"] == model["mPC"] == 0 and model["rPC"] is None
    assert evaluate.value_of({"bbox_mAP": 0.0}, "bbox_mAP_50") == 0
    with pytest.raises(ConfigError, match="expected one of bbox_mAP"):
        evaluate.value_of({"bbox_mAP": 0.5}, "bbox_mAP_50")


# --------------------------------------------------------------------------- segmentation
SEGMENTATION = """
norm = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="MultiScaleFlipAug", img_scale=(64, 64), flip=False, transforms=[
        dict(type="Resize", keep_ratio=True), dict(type="RandomFlip"),
        dict(type="Normalize", **norm), dict(type="ImageToTensor", keys=["img"]),
        dict(type="Collect", keys=["img"]),
    ]),
]
common = dict(type="CustomDataset", data_root="{root}", img_dir="images", ann_dir="labels",
              img_suffix=".png", seg_map_suffix=".png", classes=("a", "b", "c", "d", "e"),
              palette=[[i, i, i] for i in range(5)], pipeline=pipeline)
data = dict(samples_per_gpu=1, workers_per_gpu=0, train=common, val=common, test=common)
model = {model}
evaluation = dict(metric="mIoU")
"""


def test_segmentation(tmp_path):
    """mIoU on the corrupted images is that on corrupted files."""
    import tiny as models
    from mmcv.runner import save_checkpoint

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    rng = np.random.RandomState(0)
    for number in range(3):
        picture = rng.randint(0, 255, (16, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), picture)
        label = rng.randint(0, 5, (8, 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(tmp_path / "labels" / f"{number}.png"), label)
    config, checkpoint = tmp_path / "seg.py", tmp_path / "seg.pth"
    model = {**models.segmentor(), "type": "EncoderDecoder"}
    text = SEGMENTATION.replace("{root}", str(tmp_path)).replace("{model}", repr(model))
    config.write_text(text)
    torch.manual_seed(0)
    built = build.build_model(load.load_config(str(config)), "seg")
    torch.nn.init.normal_(built.decode_head.conv_seg.weight, std=1.0)
    pictures = [cv2.imread(str(path)) for path in sorted((tmp_path / "images").glob("*.png"))]
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).flip(1)
    for _ in range(30):  # statistics of the norms: so that the labels differ by place
        built.train().encode_decode((batch - 127.0) / 64.0, None)
    save_checkpoint(built, str(checkpoint))

    options = ["--corruptions", "snow", "--severities", "4", "--device", "cpu"]
    out = tmp_path / "out"
    assert entry.main([str(config), str(checkpoint), *options, "--out", str(out)]) == 0
    result = read(out)
    assert result["task"] == "seg" and result["metric"] == "mIoU"
    corrupted_files(tmp_path / "images", tmp_path / "snow", ("snow", 4))
    scores = []
    for folder in ("images", "snow"):
        file = tmp_path / f"{folder}.json"
        more = ["--cfg-options", f"data.test.img_dir={folder}", "--json", str(file)]
        assert ordinary_test([str(config), str(checkpoint), "--device", "cpu", *more]) == 0
        scores.append(json.loads(file.read_text())["metrics"]["mIoU"])
    model = result["models"][0]
    assert [model["clean"], model["scores"]["snow"]["4"]] == scores and scores[0] != scores[1]


# --------------------------------------------------------------------------- processes
@pytest.mark.slow
def test_several_processes(det, tmp_path):
    """--jobs 2, and two processes of a group, give what one gives."""
    tool = ["tools/analysis/robustness.py", det.config, det.first, det.second, *SOME]
    alone = [sys.executable, *tool]
    group = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
             *tool, "--launcher", "pytorch"]  # fmt: skip
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    for number, command in enumerate((alone, [*alone, "--jobs", "2"], group)):
        done = subprocess.run(
            [*command, "--out", str(tmp_path / str(number))], cwd=str(ROOT), env=variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert read(tmp_path / str(number))["models"] == read(tmp_path / "0")["models"]
