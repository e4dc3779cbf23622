"""The core runs on a bare torch: no OpenMMLab package, and no PyWavelets for Haar."""

import subprocess
import sys
from pathlib import Path

BLOCKED = ("mmcv", "mmdet", "mmseg", "mmcls", "mmrazor", "pywt", "pytorch_wavelets", "matplotlib")

CODE = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {BLOCKED!r}:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Block())
import torch
import freekd, freekd.frequency, freekd.losses, freekd.gates.position
import freekd.prompts.file, freekd.prompts.release, freekd.state_dict
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec
assert freekd.FreeKDLoss is freekd.losses.cards()['freekd'].module
feats = [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 4, 4)]
outs, masks = FrequencyPrompts(PromptSpec.build(4, 2))(feats)
assert outs[0].shape == feats[0].shape
try:
    freekd.frequency.dwt2(feats[0], 'db2')
except ImportError as error:
    print(error)
try:
    freekd.FreeKDDistiller
except ImportError as error:
    print('blocked', error)
"""


def test_core_imports_without_openmmlab():
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=str(root), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install PyWavelets" in done.stdout
    assert "bash tools/setup_env.sh" in done.stdout


def test_unknown_name_lists_what_there_is():
    import freekd

    try:
        freekd.FreeKDLos  # noqa: B018
    except AttributeError as error:
        assert "FreeKDLoss" in str(error)
    else:
        raise AssertionError("a misspelt name must raise AttributeError")
