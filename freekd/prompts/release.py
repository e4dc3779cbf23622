"""The prompt files of the authors' release, to ours and back.

The release keeps prompts inside a checkpoint of its own: per pyramid level i one tensor
``<prefix>mask_modules.{i}.mask_token`` of (J + 1, T, C), its groups LL_J, level 1, ..., level J.
That is granularity 'level' here, Haar, zero padding, no gate.
"""

import re
from typing import Any, Dict, List, Mapping, Tuple

import torch
from torch import Tensor

from freekd.frequency import HAAR, WaveletTransform
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec
from freekd.registry import written
from freekd.state_dict import state_dict_of

RELEASE_PREFIX = "distiller.losses.loss_maskd_fpn."
RELEASE_TRANSFORM = HAAR  # fixed in the release's loss: J = 3, zero extension
_KEY = re.compile(r"^(?P<prefix>(?:.*\.)?)mask_modules\.(?P<level>\d+)\.mask_token$")
_INFO = "freekd_info"  # in the meta of a file written by release_content


def release_tokens(content: Any) -> Dict[str, Dict[int, Tensor]]:
    """The release's prompts in what a file holds: for each prefix, each level's tensor."""
    found: Dict[str, Dict[int, Tensor]] = {}
    for key, value in state_dict_of(content).items():
        match = _KEY.match(str(key))
        if match and torch.is_tensor(value) and value.dim() == 3:
            found.setdefault(match.group("prefix"), {})[int(match.group("level"))] = value
    return found


def read_release(content: Any, path: str, remedy: str) -> Tuple[FrequencyPrompts, Dict[str, Any]]:
    """Prompts and info out of a file of the release.

    Args:
        content: as read from ``path``.
        path, remedy: for errors.

    Returns:
        The prompts, and the info: ``origin`` 'release', ``release_prefix``, and what
        :func:`release_content` kept there.

    Raises:
        RuntimeError: no such file; its first keys are named.
    """
    by_prefix = release_tokens(content)
    if len(by_prefix) > 1:
        raise RuntimeError(
            f"{path!r} holds the prompts of {len(by_prefix)} losses: {sorted(by_prefix)}; expected "
            "one. Save one of them, under its names, to a file of its own."
        )
    prefix, tokens = next(iter(by_prefix.items()), ("", {}))
    if not tokens or sorted(tokens) != list(range(len(tokens))):
        found = [str(key) for key in list(state_dict_of(content))[:5]]
        raise RuntimeError(
            f"{path!r} is not a prompt file: expected a file written by freekd, or one of the "
            f"release with keys '...mask_modules.0.mask_token' onwards; its first keys are {found}."
            f" {remedy}"
        )
    shapes = {tuple(token.shape[:2]) for token in tokens.values()}
    if len(shapes) != 1:
        raise RuntimeError(f"prompt file {path!r}: levels differ in groups and T: {sorted(shapes)}")
    groups, num_prompts = shapes.pop()
    spec = PromptSpec.build(
        [tokens[i].shape[2] for i in range(len(tokens))],
        num_prompts=num_prompts,
        transform=WaveletTransform(levels=groups - 1),
        granularity="level",
        gate=None,
    )
    prompts = FrequencyPrompts(spec)
    for i, parameter in enumerate(prompts.prompts):
        parameter.data.copy_(tokens[i])
    meta = content.get("meta")
    kept = meta.get(_INFO) if isinstance(meta, Mapping) else None
    if isinstance(kept, Mapping):  # ours once, written for the release, and back
        return prompts, dict(kept)
    return prompts, {"origin": "release", "release_prefix": prefix}


def release_content(prompts: FrequencyPrompts, info: Mapping[str, Any]) -> Dict[str, Any]:
    """What to save for the release's code: its names for ``prompts``.

    Its prompt modules also have a convolution ``prob`` and filters, which its loss never uses;
    they are not written, so the file loads there with ``strict=False``, mmcv's default.

    Raises:
        ValueError: the release cannot compute with such prompts; each reason is given.
    """
    spec = prompts.spec
    reasons: List[str] = []
    for key, value, needed in (
        ("form", repr(spec.form), repr("signed")),
        ("granularity", repr(spec.granularity), repr("level")),
        ("transform", written(spec.transform.to_dict()), written(RELEASE_TRANSFORM.to_dict())),
        ("gate", "None" if spec.gate is None else written(spec.gate), "None"),
    ):
        if value != needed:
            reasons.append(f"{key}: the release has {needed}, the file {value}")
    if reasons:
        raise ValueError(
            "these prompts have no form in the release:\n  - " + "\n  - ".join(reasons)
            + "\nTrain prompts with these values of the release in stage 1's architecture."
        )  # fmt: skip
    prefix = info.get("release_prefix", RELEASE_PREFIX)
    state = {
        f"{prefix}mask_modules.{i}.mask_token": parameter.detach().cpu().clone()
        for i, parameter in enumerate(prompts.prompts)
    }
    meta = {} if info.get("origin") == "release" else {_INFO: dict(info)}
    return {"meta": meta, "state_dict": state}
