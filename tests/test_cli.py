"""The command lines: what is slow is not imported before it is needed."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from freekd import cli

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["train", "test", "doctor", "print_config"]
TOOLS += ["analysis/confusion", "analysis/errors", "analysis/robustness"]
RUN = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r} or name.split('.')[0] in {blocked!r}:
            raise ImportError(name + ' is imported too early')
sys.meta_path.insert(0, Block())
sys.argv = {argv!r}
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def run(argv, blocked):
    code = RUN.format(blocked=blocked, argv=argv)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=str(ROOT), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("tool", TOOLS)
def test_help_imports_nothing_slow(tool):
    done = run([f"tools/{tool}.py", "--help"], ("torch", "numpy", "mmcv"))
    assert done.returncode == 0, done.stderr
    assert "--cfg-options" in done.stdout


def test_help_of_a_study_imports_nothing_slow():
    done = run(["tools/study.py", "--help"], ("torch", "numpy", "mmcv"))
    assert done.returncode == 0 and "--shard" in done.stdout, done.stderr
    done = run(["tools/study.py", "x.py", "--shard", "3/2"], ("torch", "numpy", "mmcv"))
    assert done.returncode == 2 and "--shard: expected K/N" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pair = dict(techer='x')", "techer -> teacher"),
        ("pair = dict(losses=dict(frekd={}))", "pair.losses.frekd: there is no method 'frekd'"),
        ("pair = dict(mse={})", "those of version 0.1"),
        ("prompt = dict(teacher='x', num_prompts=0)\npair = None", "prompt.num_prompts"),
        ("optimizer = 3", "optimizer: expected a dict"),
        ("x = (", "line 2"),
    ],
)
def test_a_wrong_key_is_told_before_the_hosts_are_imported(tmp_path, text, words):
    base = ROOT / "configs/_base_/pairs/retinanet_r34_r18_digits.py"
    (tmp_path / "a.py").write_text(f"_base_ = [{str(base)!r}]\n{text}\n")
    hosts = ("mmdet", "mmseg", "mmcls", "mmrazor", "torchvision", "mmcv.runner")
    done = run(["tools/train.py", str(tmp_path / "a.py")], hosts)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_options_are_read_as_mmcv_reads_them():
    """Oracle: mmcv's own action."""
    from mmcv import DictAction

    given = ["a.b=3", "c=[1,(2,'x')]", "d=None", "e=a=b", "f=1e-3,2"]
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    expected = parser.parse_args(["--cfg-options", *given]).cfg_options
    assert cli.cfg_options(cli.train(["config.py", "--cfg-options", *given])) == expected
    assert cli.cfg_options(cli.train(["config.py"])) is None


def test_options_without_a_value(capsys):
    with pytest.raises(SystemExit):
        cli.train(["config.py", "--cfg-options", "a=1", "b"])
    assert "--cfg-options: expected key=value, got 'b'" in capsys.readouterr().err
