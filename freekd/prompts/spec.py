"""What a set of prompts is made for: the keys that stage 1 and stage 2 share."""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from freekd.checks import check_choice, check_integer
from freekd.frequency import HAAR, Transform, build_transform
from freekd.frequency.groups import GRANULARITIES
from freekd.frequency.transform import OLD_KEYS, TransformLike, from_old
from freekd.gates import GATES

from .forms import FORMS

MOST_PROMPTS = 1024
GateLike = Union[str, Mapping[str, Any], None]  # the config form of a gate; None: no gate


class PromptSpec(NamedTuple):
    """What a set of prompts was made for; each field is a config key."""

    channels: Tuple[int, ...]  # of the tapped maps, finest level first
    num_prompts: int = 2  # T
    transform: Transform = HAAR
    granularity: str = "band"
    gate: Optional[Dict[str, Any]] = None  # the full config form: its type and every option
    form: str = "signed"  # from coefficients to masks, see freekd.prompts.forms

    @property
    def num_levels(self) -> int:
        """The number of pyramid levels."""
        return len(self.channels)

    @staticmethod
    def build(
        channels: Union[int, Sequence[int]],
        num_levels: Optional[int] = None,
        num_prompts: int = 2,
        transform: TransformLike = HAAR,
        granularity: str = "band",
        gate: GateLike = "position",
        form: str = "signed",
        key: str = "channels",
    ) -> "PromptSpec":
        """Check each value and fill in ``channels`` per level; ``key`` is its name in the config.

        Args:
            channels: one number for all pyramid levels, or one per level, finest first.
            num_levels: the number of pyramid levels.
            num_prompts: T, for each group of bands.
            transform: the config form, see :func:`freekd.frequency.build_transform`.
            granularity: ``band``, a prompt per band (the paper), or ``level`` (the release).
            gate: ``position``, ``dict(type='position', reduction=4)``, or None.
            form: ``signed``, masks sigma(P R) (the paper); ``energy``, sigma(P e) with
                e = |R| / s - 1; ``energy_bias``, sigma(P e + b); see :mod:`freekd.prompts.forms`.

        Raises:
            ValueError: for a value out of range, naming its config key.
        """
        channels = expand_channels(channels, num_levels, key)
        check_integer("num_prompts", num_prompts, MOST_PROMPTS)
        transform = build_transform(transform)
        check_choice("granularity", granularity, GRANULARITIES)
        transform.groups(granularity)
        check_choice("form", form, tuple(FORMS))
        gate = None if gate is None else GATES.config(gate)
        if gate is not None:
            kind, _ = GATES.find(gate["type"], "gate")
            if kind.same_channels and len(set(channels)) != 1:
                raise ValueError(
                    f"gate={gate['type']!r} relates neighbouring pyramid levels and needs the same "
                    f"channels on all; {key}={channels}. Use gate=None."
                )
        return PromptSpec(channels, num_prompts, transform, granularity, gate, form)

    def to_dict(self) -> Dict[str, Any]:
        """Plain values, for a file."""
        transform = self.transform.to_dict()
        return {**self._asdict(), "channels": list(self.channels), "transform": transform}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "PromptSpec":
        """The inverse of :meth:`to_dict`; also of older ones: without a ``form``, it is ``signed``.

        Those of version 0.1 have keys of their own for the transform.

        >>> old = dict(channels=[8], wavelet="db1", dwt_levels=2, dwt_mode="zero", gate="position")
        >>> PromptSpec.from_dict(old).transform.to_dict()
        {'type': 'db1', 'levels': 2, 'mode': 'zero'}
        """
        values = dict(values)
        if "transform" not in values:
            values["transform"] = from_old(values)
            values = {k: v for k, v in values.items() if k not in OLD_KEYS}
        return PromptSpec.build(**values)


def expand_channels(
    channels: Union[int, Sequence[int]], num_levels: Optional[int], key: str
) -> Tuple[int, ...]:
    """One channel number per pyramid level, from one for all or one each.

    Raises:
        ValueError: not positive integers, or not ``num_levels`` of them; names ``key``.
    """
    if num_levels is not None and (not isinstance(num_levels, int) or num_levels < 1):
        raise ValueError(f"num_levels must be an integer of at least 1, got {num_levels!r}")
    if isinstance(channels, int):
        expanded = (channels,) * (num_levels or 1)
    else:
        expanded = tuple(channels)
    if not expanded or any(
        not isinstance(c, int) or isinstance(c, bool) or c < 1 for c in expanded
    ):
        raise ValueError(f"{key} must be positive integers, got {channels!r}")
    if num_levels is not None and len(expanded) != num_levels:
        raise ValueError(
            f"{key} names {len(expanded)} levels ({expanded}), num_levels={num_levels}"
        )
    return expanded
