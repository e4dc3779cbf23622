"""What each method's loss costs, forward and backward, on maps of one pyramid, in one run.

``python benchmarks/loss.py --methods`` calls it. Every card that compares maps is a row, with the
card's defaults; methods are found by their cards, and none is named. ``plain/<method>.py``, where
there is one, has ``loss(ours, student, teacher)``: the same value and gradient from the equations
as they are written, which ours is compared with.
"""

import importlib
import inspect
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from measure import far_apart, peak_bytes, table, time_in_turn
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.losses import Card, cards
from freekd.losses.step import Step
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

Sizes = Sequence[Tuple[int, int]]
STRIDE = 8  # of the finest level: the image is so many times as large
BOXES = ((0.1, 0.2, 0.3, 0.5), (0.4, 0.1, 0.9, 0.8), (0.05, 0.6, 0.2, 0.75))  # of an image's sides
LEAST = "squared difference"  # what all are compared with


class Setting(NamedTuple):
    """What is the same for all methods."""

    sizes: Sizes
    batch: int
    channels: int
    device: str

    def maps(self, seed: int) -> List[Tensor]:
        """Random maps, one for each level."""
        torch.manual_seed(seed)
        shape = (self.batch, self.channels)
        return [torch.randn(*shape, h, w, device=self.device) for h, w in self.sizes]

    def step(self) -> Step:
        """A training step on images of the pyramid's size with some boxes; no models."""
        height, width = (STRIDE * side for side in self.sizes[0])
        sides = torch.tensor([width, height, width, height], device=self.device)
        boxes = torch.tensor(BOXES, device=self.device) * sides
        shape = (height, width, 3)
        meta = dict(img_shape=shape, pad_shape=shape, ori_shape=shape, scale_factor=1.0)
        data = dict(
            img=torch.zeros(self.batch, 3, height, width, device=self.device),
            img_metas=[meta] * self.batch,
            gt_bboxes=[boxes] * self.batch,
            gt_labels=[torch.arange(len(BOXES), device=self.device)] * self.batch,
        )
        return Step(data, nn.Identity(), nn.Identity())


class LeftOut(Exception):
    """Why a method is no row."""


def build(card: Card, setting: Setting, folder: str) -> nn.Module:
    """The card's loss with its defaults, told channels and levels as a pair tells them.

    Raises:
        LeftOut: it is not one on maps of a neck.
    """
    if not card.maps:
        raise LeftOut("it compares no feature maps")
    if card.module is None:
        raise LeftOut(f"the class {card.type} is another package's")
    told: Dict[str, Any] = dict(
        student_channels=setting.channels,
        teacher_channels=setting.channels,
        num_levels=len(setting.sizes),
    )
    if "prompts" in card.needs:
        spec = PromptSpec.build(setting.channels, len(setting.sizes), 2)
        told["prompts"] = os.path.join(folder, "prompts.pth")
        save_prompts(FrequencyPrompts(spec, init_std=0.05), told["prompts"])
    has = inspect.signature(card.module).parameters
    told = {name: value for name, value in told.items() if name in has}
    return card.module(**{**card.defaults, **told}).to(setting.device)


def caller(loss: nn.Module, step: Step) -> Callable[[List[Tensor], List[Tensor]], Tensor]:
    """The loss on levels, as a distiller calls it."""
    more = dict(step=step) if "step" in inspect.signature(loss.forward).parameters else {}
    if getattr(loss, "takes_levels", False):
        return lambda student, teacher: loss(student, teacher, **more)
    return lambda student, teacher: torch.stack(
        [loss(s, t, **more) for s, t in zip(student, teacher)]
    ).sum()


def plain_of(name: str) -> Optional[Callable[..., Tensor]]:
    """``loss`` of ``plain/<name>.py``, or None."""
    if not (Path(__file__).parent / "plain" / f"{name}.py").is_file():
        return None
    found: Callable[..., Tensor] = importlib.import_module(f"plain.{name}").loss
    return found


def squared_difference(student: List[Tensor], teacher: List[Tensor]) -> Tensor:
    """Sum over levels of the mean squared difference."""
    return torch.stack([F.mse_loss(s, t) for s, t in zip(student, teacher)]).sum()


def measure(setting: Setting, rounds: int) -> Dict[str, Any]:
    """Every method's row, and why others are none; all steps in turn."""
    student, teacher = [x.requires_grad_() for x in setting.maps(0)], setting.maps(1)
    losses: Dict[str, nn.Module] = {}
    values: Dict[str, Callable[[], Tensor]] = {}
    values[LEAST] = partial(squared_difference, student, teacher)
    left_out: Dict[str, str] = {}
    step = setting.step()
    with tempfile.TemporaryDirectory() as folder:
        for name, card in cards().items():
            try:
                loss = build(card, setting, folder)
            except LeftOut as reason:
                left_out[name] = str(reason)
                continue
            losses[name] = loss
            values[name] = partial(caller(loss, step), student, teacher)
            plain = plain_of(name)
            if plain is not None:
                values[f"{name}, plain"] = partial(plain, loss, student, teacher)

    def clear() -> None:
        for x in (*student, *(p for loss in losses.values() for p in loss.parameters())):
            x.grad = None

    def run(value: Callable[[], Tensor]) -> List[Tensor]:
        clear()
        torch.manual_seed(0)  # what a method draws, its plain form draws too
        result = value()
        result.backward()
        return [result.detach(), *(x.grad for x in student)]

    steps = {name: partial(run, value) for name, value in values.items()}
    seconds = time_in_turn(steps, rounds, setting.device, warmup=1)
    memory = {name: peak_bytes(one, setting.device, clear) for name, one in steps.items()}
    size = sum(x.numel() * x.element_size() for x in student)

    def figures(name: str) -> Dict[str, Any]:
        return {
            "seconds": seconds[name]._asdict(),
            "over_squared_difference": seconds[name].median / seconds[LEAST].median,
            "extra_bytes": memory[name],
            "copies": memory[name] / size,
        }

    rows: Dict[str, Any] = {}
    for name in losses:
        rows[name] = {"title": cards()[name].title, **figures(name)}
        if f"{name}, plain" in steps:
            (want, *want_grads), (value, *grads) = steps[f"{name}, plain"](), steps[name]()
            rows[name]["plain"] = {
                **figures(f"{name}, plain"),
                "over_ours": seconds[f"{name}, plain"].median / seconds[name].median,
                "value_apart": abs(float(value) - float(want)) / abs(float(want)),
                "gradient_apart": far_apart(grads, want_grads),
            }
    clear()
    return {
        "sizes": [list(size) for size in setting.sizes],
        "batch": setting.batch,
        "channels": setting.channels,
        "student_bytes": size,
        LEAST.replace(" ", "_"): figures(LEAST),
        "methods": rows,
        "left_out": left_out,
    }


HEADER = ("method", "ms", "min-max", "over squared difference", "extra MB", "copies")
PLAIN_HEADER = ("plain form of", "plain ms", "ours ms", "ratio", "plain copies", "ours copies",
                "value", "gradient")  # fmt: skip


def shown(found: Dict[str, Any]) -> str:
    """The tables of :func:`measure`."""
    named = {LEAST: found[LEAST.replace(" ", "_")], **found["methods"]}
    rows = []
    for name, row in named.items():
        median, least, most = (1e3 * row["seconds"][key] for key in ("median", "least", "most"))
        rows.append(
            [
                f"`{name}`" if name in found["methods"] else name,
                f"{median:.1f}",
                f"{least:.1f}-{most:.1f}",
                f"{row['over_squared_difference']:.1f}",
                f"{row['extra_bytes'] / 1e6:.0f}",
                f"{row['copies']:.2f}",
            ]
        )
    parts = [table(rows, HEADER)]
    compared = [
        [
            f"`{name}`",
            f"{1e3 * row['plain']['seconds']['median']:.1f}",
            f"{1e3 * row['seconds']['median']:.1f}",
            f"{row['plain']['over_ours']:.1f}",
            f"{row['plain']['copies']:.1f}",
            f"{row['copies']:.1f}",
            f"{row['plain']['value_apart']:.0e}",
            f"{row['plain']['gradient_apart']:.0e}",
        ]
        for name, row in found["methods"].items()
        if "plain" in row
    ]
    if compared:
        parts.append(table(compared, PLAIN_HEADER))
    parts.append(
        "\n".join(f"not measured: `{name}`: {why}" for name, why in found["left_out"].items())
    )
    return "\n\n".join(parts)
