"""Where maps are compared: as they are, or band by band after a transform (``domain``).

With ``domain='frequency'`` a loss is applied to each chosen band of both maps by itself, and its
values are averaged over the bands:

    L = 1/K sum_k l( xi_k(s), xi_k(t) )

The FreeKD paper's appendix moves CWD and PKD into the frequency domain so, on the high bands. The
mean, and not the sum, so that a term has the size that it has on the maps, whatever the number of
bands: the weight of one domain is a good beginning for the other. K counts the bands that have a
coefficient of their own; on a map smaller than a split of the frequencies others are all zero.
"""

from typing import Any, Callable, Mapping, Optional

import torch
from torch import Tensor

from freekd.checks import check_choice
from freekd.frequency import HAAR, Transform, build_transform
from freekd.frequency.groups import BAND_CHOICES, selected_groups
from freekd.frequency.transform import TransformLike

from .parts import mean_over_channels

DOMAINS = ("spatial", "frequency")
Compare = Callable[[Tensor, Tensor], Tensor]  # (N, c, h, w) of both: the mean over the channels


class Domain:
    """Compares two maps in one of :data:`DOMAINS`.

    Args:
        domain: ``spatial`` or ``frequency``.
        transform: of ``frequency``: xi, or its config form; None: Haar, J = 3, zero extension.
        bands: of ``frequency``: ``high`` (without the low band), ``all`` or ``low``.

    Raises:
        ValueError: an unknown option, or one of ``frequency`` where the domain is ``spatial``.

    >>> maps = torch.ones(1, 2, 8, 8)  # constant maps have no high frequencies
    >>> compare = lambda s, t: (s - t).square().mean()
    >>> [float(Domain(name).mean(compare, 3 * maps, maps)) for name in DOMAINS]
    [4.0, 0.0]
    """

    def __init__(
        self, domain: str, transform: Optional[TransformLike] = None, bands: str = "high"
    ) -> None:
        given = dict(domain=domain, transform=transform, bands=bands)
        check_domain({k: v for k, v in given.items() if (k, v) != ("bands", "high")})
        self.transform: Optional[Transform] = None
        if domain == "frequency":
            self.transform = build_transform(HAAR if transform is None else transform)
        groups = () if self.transform is None else self.transform.groups("band")
        chosen = selected_groups(groups, bands)
        self.members = [member for _, group in chosen for member in group.members]
        self.bands = bands

    def __repr__(self) -> str:
        if self.transform is None:
            return "domain='spatial'"
        return f"domain='frequency', transform={self.transform}, bands={self.bands!r}"

    def mean(self, compare: Compare, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over channels, and over bands, of what ``compare`` gives.

        Args:
            compare: of two tensors (N, c, h, w), the mean over their channels, which it treats
                alike and each by itself.
            student, teacher: (N, C, H, W), aligned. No gradient flows into ``teacher``.
        """
        teacher = teacher.detach()

        def of_channels(part: slice, piece: Tensor) -> Tensor:
            return self._mean(compare, piece, teacher[:, part])

        return mean_over_channels(of_channels, student)

    def _mean(self, compare: Compare, student: Tensor, teacher: Tensor) -> Tensor:
        if self.transform is None:
            return compare(student, teacher)
        sides = [self.transform.analyse(side).flat() for side in (student, teacher)]
        own = self.transform.occupied(student.shape[-2:])
        members = [k for k in self.members if own[k]] or self.members
        values = [compare(sides[0][k], sides[1][k]) for k in members]
        return torch.stack(values).mean()


def check_domain(options: Mapping[str, Any], key: str = "") -> None:
    """What a config says of ``domain``, ``transform`` and ``bands``.

    Args:
        options: of the loss.
        key: the config key of the loss, with a dot after it.

    Raises:
        ValueError: an unknown option, or one that has no part in the domain; names the key.
    """
    domain = options.get("domain", "spatial")
    check_choice(f"{key}domain", domain, DOMAINS)
    if "bands" in options:
        check_choice(f"{key}bands", options["bands"], BAND_CHOICES)
    if options.get("transform") is not None:
        build_transform(options["transform"], f"{key}transform")
    for name in ("transform", "bands"):
        if domain != "frequency" and options.get(name) is not None:
            raise ValueError(
                f"{key}{name}={options[name]!r} is of the domain 'frequency', and "
                f"{key}domain={domain!r}. Set domain='frequency', or remove {name}"
            )
