"""The paper's ablations: both stages of each config fit together, and its page names them all.

tests/test_configs.py trains each for a step; here, at every run, the parts that differ: the prompts
that stage 1 makes, and the losses of stage 2 on small maps.
"""

import copy
import os
import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from freekd.config.load import default_work_dir, load_config
from freekd.frequency import build_transform
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec
from freekd.zoo import stock

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "ablations.md"
PAIR, TEACHER = "reppoints_x101_r50_coco", "reppoints_x101_coco"
STAGE_1 = sorted((ROOT / "configs" / "prompt").glob(f"{TEACHER}*.py"))
STAGE_2 = [
    path
    for method in ("freekd", "cwd", "pkd")
    for path in sorted((ROOT / "configs" / method).glob(f"{PAIR}*.py"))
]
SIZES = ((13, 21), (7, 11), (4, 6), (2, 3), (1, 2))  # five levels, smaller than COCO's


def named(path):
    return os.path.relpath(str(path), str(ROOT))


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """The stock configs that all these name, read from their many files once."""
    read = lru_cache(None)(stock.read_config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stock, "read_config", lambda path: copy.deepcopy(read(path)))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """From the path that a pair reads to prompts as its stage 1 would leave them."""
    folder, files = tmp_path_factory.mktemp("prompts"), {}
    for path in STAGE_1:
        cfg = load_config(str(path))
        keys = ("channels", "num_levels", "num_prompts", "transform", "granularity", "gate")
        spec = PromptSpec.build(**{key: cfg.algorithm.architecture[key] for key in keys})
        work_dir = cfg.get("work_dir") or default_work_dir(named(path))
        written = os.path.normpath(os.path.join(work_dir, "prompts.pth"))
        files[written] = str(folder / f"{path.stem}.pth")
        save_prompts(FrequencyPrompts(spec), files[written])
    return files


def maps(seed, requires_grad=False):
    gen = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 256, *s, generator=gen).requires_grad_(requires_grad) for s in SIZES]


@pytest.mark.parametrize("path", STAGE_2, ids=named)
def test_what_is_taught(path, made):
    """The loss on the neck takes the prompts of its own stage 1, has a value, and a gradient."""
    from mmrazor.models.builder import LOSSES

    cfg = load_config(str(path))
    (component,) = [c for c in cfg.algorithm.distiller.components if c.student_module == "neck"]
    (options,) = component.losses
    what = path.stem[len(PAIR) :].lstrip("_")
    if options.get("prompts"):
        own = options.get("transform"), options.get("gate", "auto")
        assert own == (what if what in ("dct", "dft") else None,
                       what if what in ("se", "nonlocal", "cbam") else "auto")  # fmt: skip
        options = dict(options, prompts=made[os.path.normpath(options.prompts)])
    loss = LOSSES.build({k: v for k, v in options.items() if k != "name"})
    if path.parent.name == "freekd":
        assert loss.bands == (what.split("_")[0] if what[:3] in ("low", "hig") else "all")
        assert (loss.prompts is None) == what.endswith("no_prompts")
        transform = what if what in ("dct", "dft") else "haar"
        assert loss.transform == build_transform(transform)
        if loss.prompts is not None:
            gate = what if what in ("se", "nonlocal", "cbam") else "position"
            assert loss.prompts.spec.gate["type"] == gate
    student = maps(0, requires_grad=True)
    value = loss(student, maps(1))
    value.backward()
    assert torch.isfinite(value) and float(value.detach()) > 0
    assert all(bool(x.grad.isfinite().all()) for x in student)
    assert all(float(x.grad.abs().max()) > 0 for x in student[:3])  # tiny maps may have no band


def test_every_ablation_is_on_the_page():
    """Each config once, with the paper's figure that its first line says."""
    text = PAGE.read_text()
    for path in STAGE_2:
        figure = re.search(r"(4\d\.\d) AP in the (?:FreeKD )?paper", path.read_text())
        rows = [row for row in text.splitlines() if f"`{named(path)}`" in row and row[0] == "|"]
        assert figure and rows, path
        assert all(re.search(rf"\| {re.escape(figure[1])} \|$", row) for row in rows), path
    for path in STAGE_1:
        assert f"`{named(path)}`" in text or path.stem == TEACHER
