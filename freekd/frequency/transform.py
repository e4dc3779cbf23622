"""Transforms: maps to named bands and back (the paper's xi and xi~), as objects.

What distillation in the frequency domain asks of a transform is :class:`Transform`: the prompts,
the loss and the prompt files know nothing else. :class:`freekd.frequency.WaveletTransform` is the
paper's. One of your own joins with ``@TRANSFORMS.register("name")``, see :mod:`freekd.registry`.

A band is a real map (..., h, w). So a DCT of blocks has a band for each frequency of a block, a DCT
of the whole map cuts its coefficients into rectangles, and a DFT has the real and the imaginary
part (or amplitude and phase) of such a rectangle as two bands, joined by a group under one prompt.
"""

from abc import ABC, abstractmethod
from functools import wraps
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    TypeVar,
    Union,
    cast,
)

from torch import Tensor
from torch.nn import functional as F

from freekd.frequency.distance import is_a_factor, of_one_count, weighted_sum, weighted_whole
from freekd.frequency.groups import BandGroup
from freekd.registry import Registry, written

Init = TypeVar("Init", bound=Callable[..., None])


class Bands(Protocol):
    """The bands of a map, by name; :class:`freekd.frequency.WaveletBands` is one."""

    def named(self) -> Iterator[Tuple[str, Tensor]]:
        """(name, coefficients (..., h, w)) of each band, in the order of ``Transform.names``."""

    def flat(self) -> List[Tensor]:
        """The coefficients in that order."""


class Transform(ABC):
    """xi, from maps (..., H, W) to named bands, and xi~ back. It has no parameters."""

    names: Tuple[str, ...]  # of the bands; a prompt's first axis follows them
    grid: Optional[int] = (
        None  # the side of the blocks that coefficients belong to; None: no blocks
    )

    @abstractmethod
    def to_dict(self) -> Dict[str, Any]:
        """Its config form, plain values only: what :func:`build_transform` takes."""

    @abstractmethod
    def sizes(self, size: Sequence[int]) -> List[Tuple[int, int]]:
        """(h, w) of each band of a map (..., H, W), without computing them.

        Raises:
            ValueError: a map that cannot be transformed.
        """

    def occupied(self, size: Sequence[int]) -> List[bool]:
        """For each band of a map (..., H, W) whether it has a coefficient that may differ from 0.

        All have; on a map that is smaller than the split, a transform that cuts up a spectrum has
        bands of zeros alone.
        """
        return [True] * len(self.names)

    @abstractmethod
    def analyse(self, x: Tensor) -> Bands:
        """xi: the bands of maps (..., H, W), in float32 at least."""

    @abstractmethod
    def bands(self, flat: Sequence[Tensor]) -> Bands:
        """The inverse of :meth:`Bands.flat`: coefficients in the order of ``names``."""

    @abstractmethod
    def synthesise(self, bands: Bands, size: Optional[Sequence[int]] = None) -> Tensor:
        """xi~: the map (..., H, W); without ``size`` an odd one may come out larger."""

    @abstractmethod
    def groups(self, granularity: str = "band") -> List[BandGroup]:
        """The bands that share a prompt, in the order of a prompt's first axis.

        Raises:
            ValueError: a granularity that this transform does not have.
        """

    def prompted(self, bands: Bands, granularity: str = "band") -> List[Tensor]:
        """What each group's prompt is multiplied with (Eq. 5): the sum of its bands."""
        flat, out = bands.flat(), []
        for group in self.groups(granularity):
            total = flat[group.members[0]]
            for member in group.members[1:]:
                total = total + flat[member]
            out.append(total)
        return out

    def difference(self, student: Tensor, teacher: Tensor) -> List[Tensor]:
        """xi(s) - xi(t) of each band.

        One transform does where xi is linear; where it is not (amplitude and phase), override this.
        """
        return self.analyse(student - teacher).flat()

    def distance(
        self,
        student: Tensor,
        teacher: Tensor,
        weights: Sequence[Tensor],
        gates: Optional[Sequence[Tensor]] = None,
        squared: bool = False,
    ) -> Tensor:
        """The weighted distance between the bands of two maps (N, C, H, W).

        Args:
            student, teacher: the maps, in one floating type.
            weights, gates, squared: as of :func:`freekd.frequency.distance.weighted_sum`.
        """
        if is_a_factor(gates):
            whole = self.whole(student, teacher, of_one_count(weights), squared)
            if whole is not None:
                return weighted_whole(*whole, gates, squared)
        return weighted_sum(self.difference(student, teacher), weights, gates, squared)

    def whole(
        self, student: Tensor, teacher: Tensor, weights: Sequence[Tensor], squared: bool
    ) -> Optional[Tuple[Tensor, Tensor]]:
        """xi(s) - xi(t) and its weights, where all bands lie in one tensor: nothing is cut out.

        A linear transform whose coefficients come as one may override this; it makes
        :meth:`distance` faster, and its value stays.

        Args:
            student, teacher: the maps (N, C, H, W).
            weights: w (N or 1, h, w), of each band, with one first axis.
            squared: whether the coefficients will be squared; else their size counts.

        Returns:
            b (N, C, ...) and w (N or 1, ...), or None: take the bands.
        """
        return None

    def averaged(self, weight: Tensor) -> List[Tensor]:
        """A weight with positions (N, c, H, W) as one for each band's coefficients (N, c, h, w).

        Each coefficient gets the mean of the weight around its place. A transform whose
        coefficients have no place in the map gives the mean over all positions, (N, c, 1, 1).
        """
        return [F.adaptive_avg_pool2d(weight, size) for size in self.sizes(weight.shape)]

    def haar_levels(self, size: Sequence[int]) -> int:
        """J, where the bands of maps (..., H, W) are those of J Haar levels with zero extension.

        There the fast ways apply: :mod:`.haar_distance`, :mod:`.triton`, and
        :func:`freekd.prompts.masks.haar_masks`. 0 where they are not.
        """
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transform) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"{type(self).__name__}({options})"


TransformLike = Union[Transform, str, Mapping[str, Any]]  # what build_transform takes
TRANSFORMS: "Registry[Transform]" = Registry("transform", usual="haar")


def build_transform(given: TransformLike, key: str = "transform") -> Transform:
    """The transform that a config form names; a transform as it is.

    Args:
        given: a registered type or a wavelet of PyWavelets, as ``'haar'`` or
            ``dict(type='haar', levels=3, mode='zero')``; or a :class:`Transform`.
        key: the config key, for errors.

    Raises:
        ValueError: an unknown type or option (the nearest are named), or a value out of range.
        ImportError: a wavelet that needs PyWavelets, which is not installed.

    >>> build_transform(dict(type="haar", levels=2)).to_dict()
    {'type': 'haar', 'levels': 2, 'mode': 'zero'}
    """
    if isinstance(given, Transform):
        return given
    return TRANSFORMS.build(given, key=key)


# --------------------------------------------------------------------------- version 0.1
OLD_KEYS = {  # to the new one's option, and its default
    "wavelet": ("type", "haar"),
    "dwt_levels": ("levels", 3),
    "dwt_mode": ("mode", "zero"),
}


def from_old(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The transform's config form out of version 0.1's keys, defaults filled in."""
    return {new: options.get(old, default) for old, (new, default) in OLD_KEYS.items()}


def refuse_old(options: Mapping[str, Any], key: str = "") -> None:
    """Raise ValueError, with the new spelling, where ``options`` have version 0.1's keys.

    >>> refuse_old(dict(wavelet="db2", dwt_levels=2))
    Traceback (most recent call last):
    ValueError: wavelet='db2', dwt_levels=2: since version 0.2 the transform is one key. Write
    transform=dict(type='db2', levels=2, mode='zero') instead.
    """
    came = [f"{key}{name}={options[name]!r}" for name in OLD_KEYS if name in options]
    if came:
        raise ValueError(
            f"{', '.join(came)}: since version 0.2 the transform is one key. Write\n"
            f"transform={written(from_old(options))} instead."
        )


def refuses_old(init: Init) -> Init:
    """A decorator of a constructor: version 0.1's keys end in :func:`refuse_old`'s error."""

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        refuse_old(kwargs)
        init(self, *args, **kwargs)

    return cast(Init, checked)
