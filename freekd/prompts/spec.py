"""What a set of prompts is made for: the keys that stage 1 and stage 2 share."""

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Union

from freekd.checks import check_choice
from freekd.frequency.filters import MODES, filter_bank
from freekd.frequency.groups import GRANULARITIES

GATES = (None, "position")


class PromptSpec(NamedTuple):
    """What a set of prompts was made for; each field is a config key."""

    channels: Tuple[int, ...]  # of the tapped maps, finest level first
    num_prompts: int = 2  # T
    wavelet: str = "haar"
    dwt_levels: int = 3  # J
    dwt_mode: str = "zero"
    granularity: str = "band"
    gate: Optional[str] = "position"

    @property
    def num_levels(self) -> int:
        """The number of pyramid levels."""
        return len(self.channels)

    @staticmethod
    def build(
        channels: Union[int, Sequence[int]],
        num_levels: Optional[int] = None,
        num_prompts: int = 2,
        wavelet: str = "haar",
        dwt_levels: int = 3,
        dwt_mode: str = "zero",
        granularity: str = "band",
        gate: Optional[str] = "position",
        key: str = "channels",
    ) -> "PromptSpec":
        """Check each value and fill in ``channels`` per level; ``key`` is its name in the config.

        Raises:
            ValueError: for a value out of range, naming its config key.
        """
        channels = expand_channels(channels, num_levels, key)
        for name, value in (("num_prompts", num_prompts), ("dwt_levels", dwt_levels)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        filter_bank(wavelet)
        check_choice("dwt_mode", dwt_mode, MODES)
        check_choice("granularity", granularity, GRANULARITIES)
        check_choice("gate", gate, GATES)
        if gate is not None and len(set(channels)) != 1:
            raise ValueError(
                f"gate={gate!r} relates neighbouring pyramid levels and needs the same channels on "
                f"all; {key}={channels}. Use gate=None."
            )
        return PromptSpec(channels, num_prompts, wavelet, dwt_levels, dwt_mode, granularity, gate)

    def to_dict(self) -> Dict[str, Any]:
        """Plain values, for a file."""
        return {**self._asdict(), "channels": list(self.channels)}

    @staticmethod
    def from_dict(values: Dict[str, Any]) -> "PromptSpec":
        """The inverse of :meth:`to_dict`."""
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
