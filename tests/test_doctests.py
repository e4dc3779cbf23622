"""The examples in docstrings give what they say, in every module that has some."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    path.relative_to(ROOT)
    for path in sorted((ROOT / "freekd").rglob("*.py"))
    if re.search(r"^\s*>>> ", path.read_text(), re.M)
]
MODULES = [".".join(path.with_suffix("").parts).replace(".__init__", "") for path in FILES]
CORE = re.compile(  # what imports no OpenMMLab package, see tests/test_core_isolation.py
    r"freekd\.(frequency|losses|prompts|gates|checks|held|registry|widen|words|state_dict|fileio|"
    r"datasets)\b"
)

# The blocked packages are those that tests/test_core_isolation.py blocks, but PyWavelets.
IN_THE_CORE = """
import doctest, importlib, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmcv', 'mmdet', 'mmseg', 'mmcls', 'mmrazor'):
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Block())
for name in sys.argv[1:]:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0, (name, result)
print('done')
"""


def test_examples_of_the_core_without_openmmlab():
    core = [name for name in MODULES if CORE.match(name)]
    assert "freekd.losses.freekd" in core
    done = subprocess.run(
        [sys.executable, "-c", IN_THE_CORE, *core], cwd=str(ROOT), check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
    )  # fmt: skip
    assert done.stdout == "done\n"


@pytest.mark.parametrize("name", [name for name in MODULES if not CORE.match(name)])
def test_examples_of_the_rest(name):
    from freekd import compat

    compat.apply()
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0
