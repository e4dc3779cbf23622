"""Reading config files. Oracle: mmcv's own reading; the faults are written into the files here."""

import os
import sys

import pytest
from mmcv import Config

from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine import build
from freekd.zoo.config_file import ConfigFileError, read_config
from freekd.zoo.stock import read_model

STOCK = "mmdet::retinanet/retinanet_r50_fpn_2x_coco.py"


@pytest.fixture(autouse=True)
def path_as_before():
    before, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("own_"):
            del sys.modules[name]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def error_of(path):
    with pytest.raises(ConfigFileError) as error:
        read_config(path)
    return str(error.value)


def test_a_sound_config_is_what_mmcv_reads(tmp_path):
    write(tmp_path, "base.py", "a = dict(b=1, c=[dict(d=2)])\nname = '{{ fileBasename }}'\n")
    path = write(tmp_path, "child.py", "_base_ = 'base.py'\na = dict(b=3)\nx = {{ _base_.a.c }}\n")
    cfg = read_config(path)
    assert cfg._cfg_dict == Config.fromfile(path)._cfg_dict
    assert (cfg.a.b, cfg.x, cfg.name) == (3, [dict(d=2)], "base.py")


@pytest.mark.parametrize(
    "text, words",
    [
        ("a = 1\nb = dict(c=2\n", ["line 2", "syntax error"]),
        ("a = 1\n\nb = unknown\n", ["line 3", "(b = unknown)", "NameError", "'unknown'"]),
        ("a = 1 / 0\n", ["line 1", "ZeroDivisionError"]),
        ("import own_nothing\n", ["line 1", "'own_nothing'", "PYTHONPATH"]),
        ("a = 1\nassert a == 2\n", ["line 2", "(assert a == 2)", "AssertionError"]),
        ("def f():\n    return {}['k']\na = f()\n", ["line 2", "KeyError: 'k'"]),
        ("text = 'a'\n", ["text is reserved"]),
        ("_base_ = 3\n", ["TypeError"]),
        ("_base_ = ['a/nothing.py']\n", ["a/nothing.py", "found none", "_base_ of"]),
    ],
)
def test_a_fault_in_a_config_or_in_its_base(tmp_path, text, words):
    before = list(sys.path)
    path = write(tmp_path, "faulty.py", text)
    child = write(tmp_path, "child.py", "_base_ = 'faulty.py'\nz = 1\n")
    for config in (path, child):
        if "reserved" in words[0] and config == child:
            words = ["child.py"]  # where both are one
        said = error_of(config)
        assert all(word in said for word in words), said
        if words[0].startswith("line"):
            assert f"{path}, {words[0]}" in said
    with pytest.raises(ConfigError):
        load.load_config(path)
    with pytest.raises(ValueError):
        read_model(path, "pair.teacher")
    assert [place for place in sys.path if place not in before] == [str(tmp_path)]


def test_other_kinds_of_files(tmp_path):
    assert read_config(write(tmp_path, "a.json", '{"a": {"0": 1}}')).a == {"0": 1}
    assert "json" in error_of(write(tmp_path, "a.txt", "a = 1"))
    assert "a.json" in error_of(write(tmp_path, "a.json", "{"))


# --------------------------------------------------------------------------- custom_imports
def importing(folder, *names, **options):
    return write(folder, "config.py", f"custom_imports = {dict(imports=[*names], **options)!r}\n")


def test_a_module_beside_the_config_or_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(tmp_path / "configs", "own_beside/__init__.py", "from .part import VALUE\n")
    write(tmp_path / "configs", "own_beside/part.py", "VALUE = 3\n")
    write(tmp_path / "here", "own_current.py", "VALUE = 4\n")
    write(tmp_path / "here", "json.py", "raise RuntimeError('the wrong json')\n")
    sys.modules.pop("json.tool", None)
    read_config(importing(tmp_path / "configs", "own_beside", "own_current", "json.tool"))
    assert sys.modules["own_beside"].VALUE + sys.modules["own_current"].VALUE == 7
    assert sys.path[-2:] == [str(tmp_path / "configs"), str(tmp_path / "here")]


@pytest.mark.parametrize("form", ["config", "pair.teacher", "model"])
def test_a_module_that_is_not_there(tmp_path, monkeypatch, form):
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    path = importing(tmp_path, "own_losses.mine")
    if form != "config":
        key = "pair" if form == "pair.teacher" else "model"
        value = dict(teacher=path, student=STOCK, losses=dict(mimic={})) if key == "pair" else path
        path = write(tmp_path, "outer.py", f"{key} = {value!r}\n")
    with pytest.raises(ConfigError) as error:
        cfg = load.load_config(path)
        build.build_model(cfg, "det")
    for word in ("config.py", "'own_losses.mine'", "no module 'own_losses'", "PYTHONPATH",
                 "/some/where", str(tmp_path), os.getcwd()):  # fmt: skip
        assert word in str(error.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("\nx = nothing\n", ["line 2", "(x = nothing)", "NameError"]),
        ("import own_other\n", ["line 1", "No module named 'own_other'", "PYTHONPATH"]),
        ("from os import nothing\n", ["line 1", "cannot import name 'nothing'"]),
        ("x = (\n", ["line 1", "SyntaxError"]),
        (
            "from mmdet.models import BACKBONES, ResNet\n"
            "BACKBONES.register_module('ResNet')(ResNet)\n",
            ["line 2", "ResNet is already registered"],
        ),
    ],
)
def test_an_error_inside_the_module(tmp_path, text, words):
    module = write(tmp_path, "own_module.py", text)
    said = error_of(importing(tmp_path, "own_module"))
    assert all(word in said for word in [*words, "'own_module'"]), said
    if "already" not in said and "Syntax" not in said:
        assert f"{module}, {words[0]}" in said


def test_failed_imports_that_are_allowed(tmp_path):
    path = importing(tmp_path, "own_nothing", "json", allow_failed_imports=True)
    with pytest.warns(UserWarning, match="'own_nothing'.*left out"):
        assert read_config(path).custom_imports.allow_failed_imports


@pytest.mark.parametrize("value", [["json"], dict(imports=3), dict(imports=[3]), dict(modules=[])])
def test_another_form(tmp_path, value):
    path = write(tmp_path, "config.py", f"custom_imports = {value!r}\n")
    assert "custom_imports" in error_of(path) and "expected" in error_of(path)


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("", "", "'' cannot be imported"),
        ("reads_the_command_line", "import sys\nsys.exit(3)\n", "SystemExit: 3"),
    ],
)
def test_modules_that_cannot_be_imported_in_odd_ways(tmp_path, name, body, words):
    from freekd.zoo.config_file import ConfigFileError, read_config

    if name:
        (tmp_path / f"{name}.py").write_text(body)
    config = tmp_path / "odd_config.py"
    config.write_text(f"custom_imports = dict(imports=[{name!r}], allow_failed_imports=False)\n")
    with pytest.raises(ConfigFileError, match=words):
        read_config(config)
