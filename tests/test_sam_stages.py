"""Segment Anything through its stages as users start them, on a few drawn images."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sam_tiny import ARCH, SIDE, WIDE, write_images

from freekd.fileio import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "configs/prompt/sam_tiny_w96_digits.py"
MSE = "configs/mimic/sam_tiny_w96_w24_digits_encoder.py"
FREEKD = "configs/freekd/sam_tiny_w96_w24_digits_encoder.py"
DECODER = "configs/decoder/sam_tiny_w96_w24_digits.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Six images, a teacher with random weights, prompts made with it; options of each config."""
    from freekd.datasets.sam_steps import evaluation_steps, training_steps
    from freekd.models.sam import SegmentAnything
    from freekd.prompts.file import fingerprint, save_prompts
    from freekd.prompts.prompts import FrequencyPrompts
    from freekd.prompts.spec import PromptSpec

    folder = tmp_path_factory.mktemp("sam")
    names = write_images(folder / "images")
    for split in ("train", "val"):
        (folder / "images" / f"{split}.txt").write_text("\n".join(names))
    torch.manual_seed(0)
    teacher = SegmentAnything(arch=WIDE)
    torch.save(teacher.state_dict(), str(folder / "teacher.pth"))  # bare, as an official file
    prompts = FrequencyPrompts(PromptSpec.build(32, 1))
    for parameter in prompts.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    info = dict(teacher_module="image_encoder", teacher_fingerprint=fingerprint(teacher))
    save_prompts(prompts, str(folder / "prompts.pth"), info)
    common = {f"data.{s}.data_root": str(folder / "images") for s in ("train", "val", "test")}
    common.update({f"data.{s}.pipeline": evaluation_steps(SIDE) for s in ("val", "test")})
    common.update({"data.samples_per_gpu": 3, "runner.max_epochs": 2})
    with_masks = {"data.train.pipeline": training_steps(SIDE)}
    images = {"data.train.pipeline": training_steps(SIDE, masks=False)}
    weights = str(folder / "teacher.pth")
    pair = {
        "pair.teacher.arch": WIDE,
        "pair.student.arch": ARCH,
        "pair.teacher_checkpoint": weights,
        "pair.channels": 32,
        "pair.student_channels": 32,
    }
    return {
        "folder": folder,
        PROMPT: {
            **{key: value for key, value in common.items() if "epochs" not in key},
            **with_masks,
            "prompt.teacher.arch": WIDE,
            "prompt.teacher_checkpoint": weights,
            "prompt.channels": 32,
            "runner.max_iters": 4,
            "checkpoint_config.interval": 2,
        },
        MSE: {**common, **images, **pair},
        FREEKD: {
            **common, **images, **pair,
            "pair.losses.freekd.prompts": str(folder / "prompts.pth"),
        },
        DECODER: {**common, **with_masks, "model.arch": ARCH},
    }  # fmt: skip


def run(config, options, work_dir, resume_from=None, validate=False):
    from freekd.config.load import load_config
    from freekd.engine.train import train

    options = copy.deepcopy(options)
    cfg = load_config(config, options)
    cfg.work_dir, cfg.device, cfg.seed = str(work_dir), "cpu", 0
    cfg.resume_from = resume_from
    return train(cfg, validate=validate)


def weights(work_dir, name="latest.pth"):
    return load_checkpoint_file(work_dir / name)["state_dict"]


def same(one, other):
    assert set(one) == set(other)
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def from_root(monkeypatch):
    monkeypatch.chdir(ROOT)


# --------------------------------------------------------------------------- the whole way
def test_both_stages_and_the_score(files, tmp_path, from_root, capsys):
    """Encoder, decoder, the teacher's masks, test, export: each as its command does it."""
    from freekd.engine.sam_reference import main as reference
    from freekd.engine.test import main as evaluate

    encoder, decoder = tmp_path / "encoder", tmp_path / "decoder"
    runner = run(FREEKD, files[FREEKD], encoder)
    log = runner.outputs["log_vars"]
    assert {"distiller.loss_freekd.0", "loss"} <= set(log)
    assert not any(name.startswith("ratio.") for name in log)
    student = weights(encoder)
    teacher = load_checkpoint_file(files["folder"] / "teacher.pth")
    for name, value in teacher.items():  # the decoder, Fourier features and all
        if not name.startswith("image_encoder."):
            assert torch.equal(student[f"architecture.model.{name}"], value), name
    options = {**files[DECODER], "model.checkpoint": str(encoder / "latest.pth")}
    run(DECODER, options, decoder)
    finished = weights(decoder)
    for name, value in finished.items():
        learnt = not torch.equal(value, student[f"architecture.model.{name}"])
        assert learnt <= name.startswith("mask_decoder."), name
    assert any(
        not torch.equal(value, student[f"architecture.model.{name}"])
        for name, value in finished.items()
    )
    config = tmp_path / "decoder.py"
    config.write_text((decoder / Path(DECODER).name).read_text())
    out = str(tmp_path / "reference.json")
    checkpoint = str(decoder / "latest.pth")
    assert reference([str(config), "--checkpoint", checkpoint, "--out", out]) == 0
    scores = str(tmp_path / "scores.json")
    keys = ["--json", scores, "--device", "cpu", "--cfg-options", f"data.test.reference={out}"]
    assert evaluate([str(config), checkpoint, *keys]) == 0
    found = json.loads(Path(scores).read_text())["metrics"]
    assert found["mIoU"] == 1.0 and 0 <= found["mIoU_annotation"] <= 1  # it is its own teacher
    assert set(found) == {
        f"{name}{end}" for name in ("mIoU", "mIoU_annotation") for end in ("", "_standard_error")
    }
    capsys.readouterr()
    wrong = [*keys[:-1], f"data.test.reference={config}"]
    assert evaluate([str(config), checkpoint, *wrong]) == 1
    error = capsys.readouterr().err
    assert "tools/sam_reference.py" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("config", "half", "end"),
    [
        pytest.param(PROMPT, "iter_2.pth", "iter_4.pth", marks=pytest.mark.slow),
        (FREEKD, "epoch_1.pth", "epoch_2.pth"),
    ],
)
def test_resume_continues_exactly(config, half, end, files, tmp_path, from_root):
    options = {**files[config], "checkpoint_config.max_keep_ckpts": 5}
    run(config, options, tmp_path / "whole")
    run(config, options, tmp_path / "rest", str(tmp_path / "whole" / half))
    one, two = (weights(tmp_path / name, end) for name in ("whole", "rest"))
    assert same(one, two)
    assert not same(one, weights(tmp_path / "whole", half))


def test_a_cache_changes_nothing_from_its_first_use_on(files, tmp_path, from_root):
    """Filled in the first epoch, read in the second; then read alone; the same student each time.

    Against none it is the same but for the half precision.
    """
    options = {**files[MSE], "pair.cache_embeddings": str(tmp_path / "kept")}
    first = run(MSE, options, tmp_path / "1")
    cache = first.model.module.distiller.cache
    assert (cache.written, cache.read) == (6, 6)
    second = run(MSE, options, tmp_path / "2")
    assert second.model.module.distiller.cache.written == 0
    assert same(weights(tmp_path / "1"), weights(tmp_path / "2"))
    run(MSE, files[MSE], tmp_path / "3")
    kept = weights(tmp_path / "1")
    for name, value in weights(tmp_path / "3").items():
        assert torch.allclose(value, kept[name], atol=1e-3), name


@pytest.mark.slow
def test_a_cache_keeps_precisions_apart(files, tmp_path, from_root):
    """A run in bfloat16 computes its own embeddings, in the folder of one in float32."""
    options = {**files[MSE], "pair.cache_embeddings": str(tmp_path / "kept")}
    run(MSE, options, tmp_path / "1")
    low = run(MSE, {**options, "fp16": dict(dtype="bfloat16")}, tmp_path / "2")
    cache = low.model.module.distiller.cache
    assert (cache.written, cache.read) == (6, 6)


@pytest.mark.slow
def test_bfloat16_is_near_float32(files, tmp_path, from_root):
    """The student's first losses, of both stages."""
    trained = {"model.arch": WIDE, "model.checkpoint": str(files["folder"] / "teacher.pth")}
    for config, own in ((MSE, {}), (DECODER, trained)):
        options = {**files[config], **own, "runner.max_epochs": 1, "data.train.most": 3}
        losses = []
        for more in ({}, {"fp16": dict(dtype="bfloat16")}):
            runner = run(config, {**options, **more}, tmp_path / f"{len(losses)}{config[-20:]}")
            losses.append(runner.outputs["log_vars"]["loss"])
        assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[0] != losses[1]


# --------------------------------------------------------------------------- what is said
def test_a_loss_that_leaves_the_embedding_free_is_warned_of(files, tmp_path, from_root, logged):
    said = logged("freekd.distill.distiller")
    options = {**files[FREEKD], "runner.max_epochs": 1}
    changes = dict(align="conv1x1", normalize="channel", bands="high")
    run(FREEKD, options, tmp_path / "right")
    assert not any("cannot read what" in line for line in said)
    options.update({f"pair.losses.freekd.{name}": value for name, value in changes.items()})
    run(FREEKD, options, tmp_path / "free")
    for name, value in changes.items():
        assert any(f"loss_freekd: {name}={value!r}" in line for line in said)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--student-only"], ["--student-only", "configs/baseline/sam_tiny_w24_digits.py"]),
        (
            ["--cfg-options", "data.train.data_root=none"],
            ["data.train.ann_file", "none/train.txt"],
        ),
        (["--cfg-options", "pair.cache_embeddings=3"], ["pair.cache_embeddings", "a folder"]),
    ],
)
def test_errors_of_the_command(change, words, tmp_path, from_root, capsys):
    from freekd.engine.train import main

    assert main([FREEKD, "--work-dir", str(tmp_path), "--seed", "0", *change]) == 1
    error = capsys.readouterr().err
    assert "error: " in error and "Traceback" not in error
    assert all(word in error for word in words)


def test_an_augmentation_beside_a_cache_is_refused(files, tmp_path, from_root):
    from freekd.config.errors import ConfigError

    options = copy.deepcopy(files[MSE])
    options["data.train.pipeline"].insert(2, dict(type="RandomFlip", flip_ratio=0.5))
    options["pair.cache_embeddings"] = str(tmp_path / "kept")
    with pytest.raises(ConfigError, match="data.train.pipeline: RandomFlip may change"):
        run(MSE, options, tmp_path / "run")
    assert not (tmp_path / "kept").exists()


def test_data_without_masks_is_refused_before_training(files, tmp_path, from_root):
    from freekd.config.errors import ConfigError

    options = {**files[DECODER], "model.checkpoint": str(files["folder"] / "teacher.pth")}
    options["model.arch"] = WIDE
    options["data.train.pipeline"] = files[MSE]["data.train.pipeline"]
    with pytest.raises(ConfigError, match="needs gt_masks.*LoadSamMasks and SamplePrompts"):
        run(DECODER, options, tmp_path / "run")


def test_the_doctor_and_print_config(files, tmp_path, from_root):
    """The doctor makes a step, and names what the cache cannot be used with; it writes nothing."""
    from freekd.config.load import load_config, text_of
    from freekd.doctor import examine

    options = copy.deepcopy(files[FREEKD])
    options["data.train.pipeline"].insert(2, dict(type="RandomFlip", flip_ratio=0.5))
    options["pair.cache_embeddings"] = str(tmp_path / "kept")
    cfg = load_config(FREEKD, options)
    assert "SegmentAnything" in text_of(cfg)
    cfg.device, cfg.seed = "cpu", 0
    report = examine(cfg)
    (problem,) = report.problems
    assert "RandomFlip may change" in problem.what and not (tmp_path / "kept").exists()
    assert "loss_freekd" in report.text()  # of the step that was made


@pytest.mark.slow
def test_two_processes_are_one(files, tmp_path):
    """The decoder's stage, batch 1 in each of two processes against 2 in one."""
    options = {
        **files[DECODER], "model.arch": WIDE, "runner.max_epochs": 1,
        "model.checkpoint": str(files["folder"] / "teacher.pth"),
    }  # fmt: skip
    from freekd.config.load import load_config, text_of

    config = tmp_path / "config.py"
    config.write_text(text_of(load_config(str(ROOT / DECODER), copy.deepcopy(options))))
    found = []
    for count, batch in ((1, 2), (2, 1)):
        work_dir = tmp_path / str(count)
        command = ["bash", "tools/dist_train.sh", str(config), str(count)]
        if count == 1:
            command = [sys.executable, "tools/train.py", str(config)]
        done = subprocess.run(
            [*command, "--work-dir", str(work_dir), "--device", "cpu", "--seed", "0",
             "--no-validate", "--cfg-options", f"data.samples_per_gpu={batch}"],
            cwd=str(ROOT), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(weights(work_dir))
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=2e-3), name
