"""Groups of bands that share a prompt, and which groups count."""

from typing import List, NamedTuple, Sequence, Tuple

from freekd.checks import check_choice

GRANULARITIES = ("band", "level")
BAND_CHOICES = ("all", "high", "low")


class BandGroup(NamedTuple):
    """Bands of one size that share a prompt: one (the paper), or those of a level (the release)."""

    name: str
    members: Tuple[int, ...]  # positions in Bands.flat()
    low: bool  # whether it holds low frequencies


def selected_groups(groups: Sequence[BandGroup], bands: str) -> List[Tuple[int, BandGroup]]:
    """(position, group) of the groups that ``bands`` keeps: ``all``, ``high``, ``low``."""
    check_choice("bands", bands, BAND_CHOICES)
    numbered = list(enumerate(groups))
    if bands == "all":
        return numbered
    return [(i, group) for i, group in numbered if group.low == (bands == "low")]
