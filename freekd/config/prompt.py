"""``prompt = dict(...)``, the short form of stage 1, spelled out as an algorithm."""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

import torch
from mmcv import ConfigDict

from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.config.explain import building
from freekd.config.maps import Given, chosen, maps_of
from freekd.frequency import build_transform
from freekd.frequency.transform import TransformLike, refuse_old
from freekd.gates import GATES
from freekd.prompts.dissimilarity import REDUCTIONS
from freekd.prompts.fill import FILLS
from freekd.prompts.forms import FORMS
from freekd.prompts.spec import MOST_PROMPTS, GateLike, PromptSpec
from freekd.state_dict import MIN_SHARE


class Prompt(NamedTuple):
    """Stage 1: the keys of ``prompt``; those not here are as in :class:`Pair`.

    Args:
        num_prompts, transform, granularity, gate, form: as in
            :meth:`freekd.prompts.spec.PromptSpec.build`.
        dissimilarity, dissimilarity_weight, dissimilarity_reduction, sparsity, class_map: as in
            ``FrequencyPromptFinetune``.
        fill, without_losses, levels: as in ``FrequencyPromptTeacher``.
    """

    teacher: fields.Model
    teacher_checkpoint: Optional[str] = None
    module: str = "neck"
    num_prompts: int = 2
    transform: TransformLike = "haar"
    granularity: str = "band"
    gate: GateLike = "position"
    dissimilarity: str = "jaccard"
    dissimilarity_weight: float = 1.0
    channels: Any = None
    num_levels: Optional[int] = None
    levels: Optional[Sequence[int]] = None
    min_share: float = MIN_SHARE
    class_map: Optional[str] = None
    without_losses: Sequence[str] = ()
    form: str = "signed"
    dissimilarity_reduction: str = "sum"
    sparsity: float = 0.0
    fill: str = "zero"


_SPEC = ("num_prompts", "transform", "granularity", "gate", "form")  # of the prompts
COMPONENTS = ("transform", "gate")  # open to classes of the user's own

# what each key may be
PROMPT_CHECKS: Dict[str, fields.Check] = dict(
    teacher=fields.model,
    teacher_checkpoint=fields.optional(fields.text),
    channels=fields.optional(fields.channels),
    num_levels=fields.optional(fields.integer(1, fields.MOST_LEVELS)),
    levels=fields.optional(fields.levels_of_one),
    min_share=fields.number(0, 1),
    class_map=fields.optional(fields.text),
    module=fields.text,
    num_prompts=fields.integer(1, MOST_PROMPTS),
    transform=fields.told_by(build_transform),
    granularity=fields.text,
    gate=fields.optional(fields.told_by(GATES.config)),
    dissimilarity=fields.text,
    dissimilarity_weight=fields.number(0),
    without_losses=fields.parts,
    form=fields.choice(tuple(FORMS)),
    dissimilarity_reduction=fields.choice(REDUCTIONS),
    sparsity=fields.number(0),
    fill=fields.choice(FILLS),
)


def finetune(prompt: Prompt) -> ConfigDict:
    given = Given(prompt.channels, prompt.num_levels)
    channels, num_levels = maps_of("prompt", "teacher", prompt.teacher, prompt.module, given)
    if prompt.levels is not None:
        key = f"prompt.levels={list(prompt.levels)}, module {prompt.module!r}"
        channels, num_levels = chosen((channels, num_levels), prompt.levels, key)
    _check_spec(prompt, channels, num_levels)
    names = [*_SPEC, "min_share", "module", "without_losses", "fill"]
    return ConfigDict(
        type="FrequencyPromptFinetune",
        architecture=dict(
            type="FrequencyPromptTeacher",
            model=prompt.teacher,
            checkpoint=prompt.teacher_checkpoint,
            channels=channels,
            num_levels=num_levels,
            **({} if prompt.levels is None else dict(levels=list(prompt.levels))),
            **{name: getattr(prompt, name) for name in names},
        ),
        dissimilarity=prompt.dissimilarity,
        dissimilarity_weight=prompt.dissimilarity_weight,
        dissimilarity_reduction=prompt.dissimilarity_reduction,
        sparsity=prompt.sparsity,
        class_map=prompt.class_map,
    )


def _check_spec(prompt: Prompt, channels: Any, num_levels: int) -> None:
    """What the prompts are made for; the values of a gate's options, its constructor alone knows.

    Raises:
        ConfigError: a value that cannot be; with the key.
    """

    def build(_: Any, key: str) -> None:
        asked = {name: getattr(prompt, name) for name in _SPEC}
        try:
            spec = PromptSpec.build(channels, num_levels, **asked)
            if spec.gate is not None:
                GATES.build(spec.gate, spec.channels)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from error

    with torch.random.fork_rng(devices=[]), building("prompt.gate"):
        fields.told_by(build)(prompt, "prompt")


def refuse_old_keys(given: Mapping[str, Any]) -> None:
    """Raise ConfigError, with the new spelling, where ``prompt`` has a key of version 0.1."""
    try:
        refuse_old(given, "prompt.")
    except ValueError as error:
        raise ConfigError(str(error)) from error
