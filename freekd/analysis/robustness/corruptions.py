"""The 15 corruptions x 5 severities of ImageNet-C and COCO-C, always the same for one image.

The corruptions themselves come from the package ``imagecorruptions-imaug``, the kept-up form of
the one that COCO-C was made with (Michaelis et al., "Benchmarking Robustness in Object Detection",
arXiv:1907.07484). Here is what makes them repeatable: all random numbers of an image come from its
file's name, the corruption and the severity, so that neither order nor the number of processes nor
a model changes a pixel.
"""

import difflib
import hashlib
import importlib
import importlib.metadata
import inspect
import warnings
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from freekd.config.errors import ConfigError
from freekd.engine.seeds import temporary_seed

Image = NDArray[Any]

GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The benchmark's corruptions, in its order."""

NAMES = tuple(name for group in GROUPS.values() for name in group)
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 32  # pixels; the package takes no smaller image
SEEDING = 1  # counts changes of what an image's random numbers are made of
INSTALL = "pip install --no-deps -r requirements/robustness.txt"
_DISTRIBUTION = "imagecorruptions-imaug"
_DECIDES = (_DISTRIBUTION, "scikit-image", "scipy", "numpy", "pillow", "numba")


class CorruptionError(ConfigError):
    """An image that cannot be corrupted; of a loader's worker only the last line is kept."""

    def __init__(self, text: str) -> None:
        super().__init__(text.rsplit("CorruptionError: ", 1)[-1].strip())


def package() -> Any:
    """The package of the corruptions.

    Raises:
        ConfigError: it is not installed, or cannot be imported; says how to install it.
    """
    try:
        found = importlib.import_module("imagecorruptions")
    except ImportError as error:
        raise ConfigError(
            f"The corruptions need the package {_DISTRIBUTION}, but importing it failed ({error}). "
            f"Run: {INSTALL}"
        ) from error
    if not hasattr(found, "corruption_dict") or set(NAMES) - set(found.corruption_dict):
        raise ConfigError(
            f"Expected the 15 corruptions in the package imagecorruptions, found others in "
            f"{getattr(found, '__file__', found)}. Run: {INSTALL}"
        )
    return found


def versions() -> Dict[str, str]:
    """Of the packages that decide how a corrupted image looks."""
    package()
    found = {}
    for name in _DECIDES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
    import cv2

    return {**found, "opencv": cv2.__version__}


def check_names(names: Sequence[str]) -> List[str]:
    """The corruptions of ``--corruptions``, each once, in the benchmark's order.

    A group's name stands for all of the group.

    Raises:
        ConfigError: for a name that is none, with the nearest.

    >>> check_names(["fog", "noise"])
    ['gaussian_noise', 'shot_noise', 'impulse_noise', 'fog']
    """
    chosen: List[str] = []
    for name in names:
        if name not in NAMES and name not in GROUPS:
            near = difflib.get_close_matches(name, [*NAMES, *GROUPS], n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"--corruptions: expected names among {', '.join(NAMES)}, or the groups "
                f"{', '.join(GROUPS)}, got {name!r}. Did you mean {near!r}?"
            )
        chosen += GROUPS.get(name, (name,))
    return [name for name in NAMES if name in chosen]


def check_severities(values: Sequence[int]) -> List[int]:
    """The severities of ``--severities``, each once, in order.

    Raises:
        ConfigError: for another number than 1 to 5.
    """
    wrong = [value for value in values if value not in SEVERITIES]
    if wrong:
        raise ConfigError(
            f"--severities: expected numbers from 1 to 5, got {wrong[0]}. Correct it."
        )
    return sorted(set(values))


def seed_of(image: str, corruption: str, severity: int) -> int:
    """The 32-bit seed of one corrupted image."""
    text = f"{image}\n{corruption}\n{severity}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def corrupt(image: Image, name: str, corruption: str, severity: int, bgr: bool = True) -> Image:
    """A corrupted copy of an image, of the same shape and type.

    Args:
        image: (H, W, 3), (H, W, 1) or (H, W), in [0, 255], of any type of number.
        name: of its file: what the random numbers are made of.
        corruption: one of :data:`NAMES`.
        severity: 1 to 5.
        bgr: the order of its channels. The package expects RGB.

    The states of ``random``, ``numpy.random`` and torch are as before.

    Raises:
        CorruptionError: an image that the package does not take: too small, or with other channels.
        ConfigError: as :func:`package`.
    """
    _check_image(image, name)
    flat = image if image.ndim == 3 else image[..., None]
    pixels = np.clip(flat, 0, 255).astype(np.uint8)
    grey = pixels.shape[2] == 1
    if bgr and not grey:
        pixels = pixels[..., ::-1]
    seed = seed_of(name, corruption, severity)
    found = package()
    options: Dict[str, Any] = {}
    if "seed" in inspect.signature(found.corruption_dict[corruption]).parameters:
        options["seed"] = seed  # where the numbers are not numpy's global ones
    with temporary_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = found.corrupt(
            np.ascontiguousarray(pixels), corruption_name=corruption, severity=severity, **options
        )
    if grey:  # it gives three channels
        done = np.rint(done @ np.array([0.299, 0.587, 0.114]))[..., None]
    elif bgr:
        done = done[..., ::-1]
    return np.ascontiguousarray(done.reshape(image.shape).astype(image.dtype))


def _check_image(image: Any, name: str) -> None:
    shape: Tuple[int, ...] = tuple(getattr(image, "shape", ()))
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise CorruptionError(
            f"{name}: expected an image with one or three channels to corrupt, got the shape "
            f"{shape}. Such images are not part of the benchmark: leave the data set out."
        )
    if min(shape[:2]) < SMALLEST:
        raise CorruptionError(
            f"{name}: expected an image of at least {SMALLEST} x {SMALLEST} pixels to corrupt, got "
            f"{shape[1]} x {shape[0]}. Leave it out of the annotations, or enlarge the images."
        )
