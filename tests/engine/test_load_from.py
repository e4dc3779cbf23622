"""``load_from`` in the three kinds of run. Oracle: the file's own tensors."""

from types import SimpleNamespace

import pytest
import tiny as models
import torch

from freekd import compat

compat.apply()

from freekd.engine.checkpoint import CheckpointError
from freekd.engine.load_from import load_from
from freekd.engine.train import main
from freekd.fileio import load_checkpoint_file


class Keys(dict):
    __getattr__ = dict.__getitem__


def fill(model, path, **keys):
    return load_from(model, Keys(load_from=str(path), **keys))


@pytest.fixture
def files(tmp_path):
    """A plain detector, a pair and a stage-1 run, each saved after ``torch.manual_seed(1)``."""
    torch.manual_seed(1)
    made = dict(
        plain=models.build(models.detector()),
        pair=models.build(models.distill([models.freekd_loss(align="conv1x1")])),
        stage1=models.build(
            dict(type="FrequencyPromptFinetune", architecture=models.prompt_teacher())
        ),
    )
    for name, model in made.items():
        state = {f"module.{key}": value for key, value in model.state_dict().items()}
        torch.save(dict(state_dict=state), str(tmp_path / f"{name}.pth"))
    return SimpleNamespace(root=tmp_path, **made)


def fresh(kind):
    torch.manual_seed(2)
    if kind == "plain":
        return models.build(models.detector())
    if kind == "pair":
        return models.build(models.distill([models.freekd_loss(align="conv1x1")]))
    return models.build(dict(type="FrequencyPromptFinetune", architecture=models.prompt_teacher()))


def same(one, two):
    state = two.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("source", ["plain", "pair"])
@pytest.mark.parametrize("target", ["plain", "pair"])
def test_students_fill_students(files, source, target):
    model = fresh(target)
    student = getattr(getattr(model, "architecture", None), "model", model)
    saved = files.plain if source == "plain" else files.pair.architecture.model
    assert not same(saved, student)
    found = fill(model, files.root / f"{source}.pth")
    assert same(saved, student) and found.share == 1.0 and "100.0%" in found.note
    if source == target == "pair":  # the alignment comes along, the teacher does not
        assert same(files.pair.distiller.losses, model.distiller.losses)
        assert not same(files.pair.distiller.teacher, model.distiller.teacher)


def test_stage_1_goes_on_from_prompts_but_with_its_own_teacher(files):
    model = fresh("stage1")
    model.architecture.checkpoint = "teacher.pth"
    fill(model, files.root / "stage1.pth")
    assert same(files.stage1.architecture.prompts, model.architecture.prompts)
    assert not same(files.stage1.architecture.model, model.architecture.model)
    model.architecture.checkpoint = None  # nothing else gives it weights
    fill(model, files.root / "stage1.pth")
    assert same(files.stage1.architecture.model, model.architecture.model)
    found = fill(fresh("stage1"), files.root / "plain.pth")
    assert (found.what, found.share) == ("teacher", 1.0)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("stage1", "pair", "checkpoint of stage 1.*no student.*pair.losses.freekd.prompts"),
        ("stage1", "plain", "checkpoint of stage 1"),
        ("pair", "stage1", "checkpoint of stage 2.*prompt.teacher_checkpoint"),
    ],
)
def test_files_of_another_stage_are_refused(files, source, target, words):
    with pytest.raises(CheckpointError, match=words):
        fill(fresh(target), files.root / f"{source}.pth")


def test_the_share_is_counted_by_values(files, tmp_path):
    state = files.plain.backbone.state_dict()
    torch.save({f"backbone.{k}": v for k, v in state.items()}, str(tmp_path / "backbone.pth"))
    counts = {
        part: sum(v.numel() for k, v in files.plain.state_dict().items() if k.startswith(part))
        - sum(1 for k in files.plain.state_dict() if k.startswith(part) and "num_batches" in k)
        for part in ("backbone", "")
    }
    share = counts["backbone"] / counts[""]
    model = fresh("pair")
    assert share > 0.5
    found = fill(model, tmp_path / "backbone.pth")
    assert found.share == pytest.approx(share) and found.empty == ["bbox_head", "neck"]
    assert "nothing of bbox_head, neck: is it a file of another architecture?" in found.note
    with pytest.raises(CheckpointError) as error:
        fill(model, tmp_path / "backbone.pth", load_from_min_share=0.99)
    for words in (f"fills {share:.1%} of the student", "missing: neck.", "load_from_min_share="):
        assert words in str(error.value)
    torch.save(state, str(tmp_path / "other.pth"))  # names of another kind of model
    with pytest.raises(CheckpointError, match=r"fills 0.0% of the student.*The file has conv1"):
        fill(model, tmp_path / "other.pth")
    other = files.plain.state_dict()
    other["bbox_head.retina_cls.weight"] = other["bbox_head.retina_cls.weight"][:2]
    torch.save(other, str(tmp_path / "classes.pth"))
    found = fill(model, tmp_path / "classes.pth")
    assert "of another shape: bbox_head.retina_cls.weight is (2, 8, 3, 3)" in found.note


def test_old_names_of_offsets_are_understood(tmp_path):
    cfg = models.detector()
    cfg["backbone"]["dcn"] = dict(type="DCN", deform_groups=1, fallback_on_stride=False)
    cfg["backbone"]["stage_with_dcn"] = (False, True, False, False)
    cfg["backbone"]["depth"] = 50
    cfg["neck"]["in_channels"] = [16, 32, 64, 128]
    torch.manual_seed(0)
    trained = models.build(cfg)
    torch.nn.init.normal_(trained.backbone.layer2[0].conv2.conv_offset.weight)
    old = {
        name.replace("conv2.conv_offset.", "conv2_offset."): value
        for name, value in trained.state_dict().items()
    }
    torch.save(old, str(tmp_path / "old.pth"))
    model = models.build(cfg)
    assert fill(model, tmp_path / "old.pth").share == 1.0 and same(trained, model)


@pytest.mark.parametrize("value", [3, ["a.pth"]])
def test_what_load_from_must_not_be(value):
    with pytest.raises(CheckpointError, match="load_from: expected a path"):
        load_from(fresh("plain"), Keys(load_from=value))


def test_in_a_run_and_in_the_doctor(stage, tmp_path, capsys):
    """A stage-2 run from a plain file: the first checkpoint of a frozen student is that file."""
    stage(2, "makes_the_teacher")
    plain = stage.folder / "GN" / "teacher.pth"
    args = [stage(2, "from_plain"), "--no-validate", "--device", "cpu", "--work-dir"]
    options = [f"load_from={plain}", "optimizer.lr=0.0", "runner.max_iters=1", "log_level=INFO"]
    assert main([*args, str(tmp_path / "a"), "--cfg-options", *options]) == 0
    log = next((tmp_path / "a").glob("*.log")).read_text()
    assert f"load_from: 100.0% of the student from {plain}" in log
    state = load_checkpoint_file(tmp_path / "a" / "latest.pth")["state_dict"]
    for name, value in load_checkpoint_file(plain)["state_dict"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(state[f"architecture.model.{name}"], value)
    prompts = stage.folder / "GN" / "prompts.pth"
    assert main([*args, str(tmp_path / "b"), "--cfg-options", f"load_from={prompts}"]) == 1
    assert "is a prompt file, which has no weights" in capsys.readouterr().err


def test_names_that_modules_change_while_they_load_are_filled(tmp_path):
    """mmdet's DETR head takes the names of its first years, and so does a run's first weights."""
    torch.manual_seed(0)
    trained = models.build(models.deformable_detr())
    renamed = {
        name.replace(".attentions.0.", ".self_attn."): value
        for name, value in trained.bbox_head.state_dict().items()
    }
    model = models.build(models.deformable_detr())
    seen = []

    def rename(state, prefix, *_):
        for name in [name for name in state if ".self_attn." in name]:
            seen.append(name)
            state[name.replace(".self_attn.", ".attentions.0.")] = state.pop(name)

    model.bbox_head._register_load_state_dict_pre_hook(rename)
    whole = {k: v for k, v in trained.state_dict().items() if not k.startswith("bbox_head.")}
    whole.update({f"bbox_head.{name}": value for name, value in renamed.items()})
    torch.save(whole, str(tmp_path / "old.pth"))
    assert fill(model, tmp_path / "old.pth").share == 1.0
    assert seen and same(trained, model)


def test_what_is_no_tensor_is_no_weight(tmp_path):
    state = dict(models.build(models.detector()).state_dict())
    state["bbox_head.retina_cls.weight"] = "lost"
    torch.save(state, str(tmp_path / "odd.pth"))
    found = fill(fresh("plain"), tmp_path / "odd.pth")
    assert found.share < 1 and "missing: bbox_head.retina_cls.weight" in found.note


@pytest.mark.parametrize("source", ["open-mmlab://nothing_of_this_name", "torchvision://nothing"])
def test_names_of_mmcv_that_lead_nowhere(source):
    with pytest.raises(CheckpointError, match="cannot be read"):
        fill(fresh("plain"), source)
