"""Data sets that come with the project. Importing this needs numpy alone."""

from freekd.datasets.digit_images import make_digit_images
from freekd.datasets.digit_maps import MAP_CLASSES, make_digit_maps
from freekd.datasets.digit_masks import make_digit_masks
from freekd.datasets.digits import DIGIT_CLASSES, make_digits
from freekd.datasets.scenes import SCENE_CLASSES, make_scenes

__all__ = [
    "DIGIT_CLASSES",
    "MAP_CLASSES",
    "SCENE_CLASSES",
    "make_digit_images",
    "make_digit_maps",
    "make_digit_masks",
    "make_digits",
    "make_scenes",
]
