"""DINO as a detector of mmdet 2.x."""

from typing import Any, Dict, Optional

from mmdet.models.builder import DETECTORS
from mmdet.models.detectors import DeformableDETR

from .names import rename_mmdet3
from .options import check_levels


@DETECTORS.register_module()
class DINO(DeformableDETR):
    """Backbone, neck and :class:`.head.DINOHead`; it reads weights with mmdet 3.x's names, too.

    Raises:
        ValueError: neck, transformer and attention have not as many levels; names the keys.
    """

    def __init__(
        self, backbone: Dict[str, Any], neck: Optional[Dict[str, Any]] = None, **kwargs: Any
    ) -> None:
        super().__init__(backbone, neck=neck, **kwargs)
        check_levels(self.bbox_head.transformer, neck)

    @staticmethod
    def rename_weights(state: Dict[str, Any]) -> None:
        """Give weights with mmdet 3.x's names ours, in place; others stay."""
        rename_mmdet3(state)

    def _load_from_state_dict(
        self, state_dict: Dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """The detector's turn comes before its parts', which then find their own names."""
        rename_mmdet3(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
