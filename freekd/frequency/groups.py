"""Groups of bands that share a prompt, and which groups count."""

from typing import List, NamedTuple, Tuple

from torch import Tensor

from freekd.checks import check_choice

from .bands import WaveletBands, band_names

GRANULARITIES = ("band", "level")
BAND_CHOICES = ("all", "high", "low")


class BandGroup(NamedTuple):
    """Bands that share a prompt: one band (the paper) or the three of a level (the release)."""

    name: str
    members: Tuple[int, ...]  # positions in WaveletBands.flat()


def band_groups(dwt_levels: int, granularity: str = "band") -> List[BandGroup]:
    """The groups, in the order of a prompt's first axis.

    >>> [group.name for group in band_groups(2, "level")]
    ['LL2', 'level1', 'level2']
    >>> [group.name for group in band_groups(1, "band")]
    ['LL1', 'LH1', 'HL1', 'HH1']
    """
    check_choice("granularity", granularity, GRANULARITIES)
    if granularity == "band":
        return [BandGroup(name, (i,)) for i, name in enumerate(band_names(dwt_levels))]
    groups = [BandGroup(f"LL{dwt_levels}", (0,))]
    for level in range(1, dwt_levels + 1):
        first = 3 * level - 2
        groups.append(BandGroup(f"level{level}", (first, first + 1, first + 2)))
    return groups


def selected_groups(dwt_levels: int, granularity: str, bands: str) -> List[Tuple[int, BandGroup]]:
    """(position, group) of the groups that ``bands`` keeps: ``all``, ``high`` (no LL), ``low``."""
    check_choice("bands", bands, BAND_CHOICES)
    numbered = list(enumerate(band_groups(dwt_levels, granularity)))
    return {"all": numbered, "high": numbered[1:], "low": numbered[:1]}[bands]


def group_coefficients(bands: WaveletBands, granularity: str = "band") -> List[Tensor]:
    """What each group's prompt is multiplied with: its band, or the sum of its three bands."""
    flat = bands.flat()
    groups = band_groups(bands.levels, granularity)
    return [
        flat[members[0]]
        if len(members) == 1
        else flat[members[0]] + flat[members[1]] + flat[members[2]]
        for _, members in groups
    ]
