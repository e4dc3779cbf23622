"""Segment Anything, by the package segment-anything; importing this registers the model.

The package itself is imported when a model is built, so that configs can be read without it.
"""

from freekd import compat

compat.apply()  # before mmdet is imported

from freekd.models.sam.arch import VARIANTS, Arch, build_sam  # noqa: E402
from freekd.models.sam.losses import mask_losses  # noqa: E402
from freekd.models.sam.model import SegmentAnything  # noqa: E402

__all__ = ["Arch", "SegmentAnything", "VARIANTS", "build_sam", "mask_losses"]
