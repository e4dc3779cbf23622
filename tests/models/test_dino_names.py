"""A DINO's weights under mmdet 3.x's names: read everywhere, and written back."""

import enum
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from freekd import compat

compat.apply()

from models.dino_file import OWN, File

from freekd.convert.output import ConversionError
from freekd.convert.student import convert_student, main
from freekd.distill.weights import load_teacher_weights
from freekd.engine.checkpoint import load_weights
from freekd.models.dino.names import from_mmdet3, rename_mmdet3, to_mmdet3
from freekd.prompts.file import load_prompts
from freekd.zoo.stock import read_model

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "configs/_base_/models/dino_r18w16_digits.py")
FULL = {  # tensors and parameters in millions, as counted in mmdet 3.3.0
    "dino_4scale_r50": (627, 47.70),
    "dino_5scale_swin_l": (669, 218.33),
}


def build(path):
    from mmrazor.models.builder import MODELS

    import freekd.models  # noqa: F401

    return MODELS.build(read_model(path, "model"))


def pattern(name):
    """The name with '#' for its numbers."""
    return re.sub(r"\d+", "#", name)


@pytest.fixture
def no_values(monkeypatch):
    """Weights are as the memory was: 200 millions of random numbers take seconds."""
    for function in ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, function, lambda tensor, *args, **kwargs: tensor)
    monkeypatch.setattr(torch.Tensor, "normal_", lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize("name", FULL)
def test_names_at_full_size(name, no_values):
    """As many as there, one for each; those of the transformer as in a file of mmdet 3.3.0."""
    model = build(str(ROOT / f"configs/_base_/models/{name}.py"))
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    tensors, millions = FULL[name]
    assert len(own) == tensors
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions
    theirs = {to_mmdet3(key): shape for key, shape in own.items()}
    assert len(theirs) == tensors
    assert {from_mmdet3(key): shape for key, shape in theirs.items()} == own
    file = File(OWN / "dino_tiny.npz")

    def beside_backbone(names):
        return {pattern(key) for key in names if not key.startswith("backbone.")}

    assert beside_backbone(theirs) == beside_backbone(file.state)
    layers = {key.split(".")[2] for key in theirs if key.startswith("decoder.layers.")}
    assert layers == {str(i) for i in range(6)}


def test_a_weight_of_the_tables_keeps_its_shape():
    """Hand-written: D = 256, 900 queries, 80 classes, sines of four coordinates."""
    expected = {
        "level_embed": (4, 256), "query_embedding.weight": (900, 256),
        "memory_trans_fc.weight": (256, 256), "memory_trans_norm.bias": (256,),
        "dn_query_generator.label_embedding.weight": (80, 256), "decoder.norm.weight": (256,),
        "decoder.ref_point_head.layers.0.weight": (256, 512),
        "decoder.layers.5.cross_attn.sampling_offsets.weight": (256, 256),
        "decoder.layers.0.self_attn.attn.in_proj_weight": (768, 256),
        "encoder.layers.3.ffn.layers.0.0.weight": (2048, 256),
        "bbox_head.cls_branches.6.weight": (80, 256), "bbox_head.reg_branches.6.4.bias": (4,),
    }  # fmt: skip
    model = build(str(ROOT / "configs/_base_/models/dino_4scale_r50.py"))
    found = {to_mmdet3(key): tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: found[key] for key in expected} == expected


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A tiny model with random weights, and a file of it with mmdet 3.x's names and meta."""
    torch.manual_seed(0)
    model = build(TINY)
    state = {to_mmdet3(name): value.clone() for name, value in model.state_dict().items()}
    path = tmp_path_factory.mktemp("mmdet3") / "theirs.pth"
    meta = dict(dataset_meta=dict(classes=[*"0123456789"]))
    torch.save(dict(meta=meta, state_dict=state), str(path))
    return model, path


def equal(model, other):
    return all(
        torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items()
    )


def test_they_are_read_as_a_teacher_s_and_a_model_s(theirs):
    model, path = theirs
    teacher = build(TINY)
    found = load_teacher_weights(teacher, str(path), "pair.teacher_checkpoint")
    assert found.share == 1 and found.classes == tuple("0123456789") and equal(model, teacher)
    tested = build(TINY)
    assert load_weights(tested, torch.load(str(path))["state_dict"], str(path)) == ([], [])
    assert equal(model, tested)


def test_the_host_s_own_loader_reads_them(theirs):
    from mmcv.runner import load_checkpoint

    model, path = theirs
    stock = build(TINY)
    load_checkpoint(stock, str(path), strict=True)
    assert equal(model, stock)


def test_another_shape_is_refused_by_our_name(theirs, tmp_path):
    content = torch.load(str(theirs[1]))
    content["state_dict"]["query_embedding.weight"] = torch.zeros(7, 64)
    torch.save(content, str(tmp_path / "other.pth"))
    with pytest.raises(RuntimeError, match=r"query_embed.weight is \(7, 64\), .* \(50, 64\)"):
        load_teacher_weights(build(TINY), str(tmp_path / "other.pth"), "pair.teacher_checkpoint")


def test_other_files_keep_their_names():
    state = {"encoder.layers.0.self_attn.x": 1, "neck.y": 2}
    rename_mmdet3(state)
    assert state == {"encoder.layers.0.self_attn.x": 1, "neck.y": 2}


def test_a_student_is_written_with_their_names(theirs, tmp_path):
    model, path = theirs
    run = {f"architecture.model.{name}": value for name, value in model.state_dict().items()}
    torch.save(dict(meta={}, state_dict=run), str(tmp_path / "run.pth"))
    out = str(tmp_path / "out.pth")
    assert main([str(tmp_path / "run.pth"), "--out-path", out, "--to", "mmdet3"]) == 0
    found, expected = (torch.load(str(p))["state_dict"] for p in (tmp_path / "out.pth", path))
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_another_network_has_no_other_names(tmp_path):
    run = {"architecture.model.backbone.conv1.weight": torch.zeros(1)}
    torch.save(dict(meta={}, state_dict=run), str(tmp_path / "run.pth"))
    with pytest.raises(ConversionError, match="--to mmdet3: expected a DINO"):
        convert_student(str(tmp_path / "run.pth"), str(tmp_path / "out.pth"), to="mmdet3")
    assert not (tmp_path / "out.pth").exists()


class Foreign:
    """An object as some packages put into their files."""


def test_a_file_with_other_objects_says_what_to_run(theirs, tmp_path):
    content = torch.load(str(theirs[1]))
    torch.save(dict(content, message_hub=Foreign()), str(tmp_path / "full.pth"))
    with pytest.raises(RuntimeError, match=r"keep_weights\.py full\.pth --out-path weights\.pth"):
        load_teacher_weights(build(TINY), str(tmp_path / "full.pth"), "pair.teacher_checkpoint")
    script = ROOT / "tools/model_converters/keep_weights.py"
    code = (
        "import sys, types, runpy; module = types.ModuleType('models.test_dino_names');"
        "module.Foreign = type('Foreign', (), {}); sys.modules['models'] = types.ModuleType('m');"
        f"sys.modules[{Foreign.__module__!r}] = module;"
        f"sys.argv = ['k', 'full.pth', '--out-path', 'plain.pth'];"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    teacher = build(TINY)
    found = load_teacher_weights(teacher, str(tmp_path / "plain.pth"), "pair.teacher_checkpoint")
    assert found.share == 1 and found.classes == tuple("0123456789") and equal(theirs[0], teacher)


def keep_weights():
    """The script as a module: it stands alone, in no package."""
    path = ROOT / "tools/model_converters/keep_weights.py"
    spec = importlib.util.spec_from_file_location("keep_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kind(str, enum.Enum):
    """Text, but an object for a file."""

    ONE = "one"


def test_what_is_kept_of_a_meta():
    given = dict(kind=Kind.ONE, score=np.float64(0.5), many=(1, np.arange(2)), other=object())
    kept = keep_weights().plain(given)
    assert kept == dict(kind="one", score=0.5, many=[1, [0, 1]], other=None)
    assert {type(kept["kind"]), type(kept["score"])} == {str, float}


def test_files_of_which_no_weights_are_kept(tmp_path, monkeypatch, capsys):
    """Each ends in one line that says what to do, and nothing is written."""
    script, out = keep_weights(), tmp_path / "out.pth"
    gone = types.ModuleType("no_such_package")
    gone.Foreign = type("Foreign", (), {"__module__": "no_such_package"})
    monkeypatch.setitem(sys.modules, "no_such_package", gone)
    torch.save(dict(state_dict={"a": torch.zeros(1)}, hub=gone.Foreign()), tmp_path / "foreign.pth")
    monkeypatch.delitem(sys.modules, "no_such_package")
    torch.save(dict(state_dict=None), tmp_path / "empty.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "foreign.pth").read_bytes()[:300])
    says = dict(
        foreign="a package that is not installed here", empty="holds no weights",
        cut="cannot be read", missing="there is no file",
    )  # fmt: skip
    for name, text in says.items():
        monkeypatch.setattr(
            sys, "argv", ["k", str(tmp_path / f"{name}.pth"), "--out-path", str(out)]
        )
        assert script.main() == 1 and text in capsys.readouterr().err
        assert not out.exists()
    out.write_text("mine")
    torch.save({"a": torch.zeros(1)}, tmp_path / "good.pth")
    monkeypatch.setattr(sys, "argv", ["k", str(tmp_path / "good.pth"), "--out-path", str(out)])
    assert script.main() == 1 and "exists" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_a_plain_dino_is_written_with_their_names_too(theirs, tmp_path):
    """A baseline's checkpoint: it needs no conversion but for its names."""
    model, path = theirs
    torch.save(dict(meta={}, state_dict=model.state_dict()), str(tmp_path / "plain.pth"))
    out = tmp_path / "out.pth"
    assert main([str(tmp_path / "plain.pth"), "--out-path", str(out), "--to", "mmdet3"]) == 0
    assert set(torch.load(str(out))["state_dict"]) == set(torch.load(str(path))["state_dict"])


def test_a_prompt_file_with_other_objects_is_no_file_of_weights(tmp_path):
    torch.save(dict(format="freekd.prompts", hub=Foreign()), str(tmp_path / "prompts.pth"))
    with pytest.raises(RuntimeError, match="holds the Python object") as caught:
        load_prompts(str(tmp_path / "prompts.pth"))
    assert "keep_weights" not in str(caught.value)
