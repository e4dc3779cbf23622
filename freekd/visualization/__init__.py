"""Pictures of the method, drawn with matplotlib from plain arrays or tensors."""

from freekd.visualization.detections import DetectionRow, draw_detections
from freekd.visualization.features import draw_feature_maps, spatial_softmax_heatmap
from freekd.visualization.masks import draw_prompt_mask_levels, draw_prompt_masks
from freekd.visualization.places import PlacesRow, draw_places
from freekd.visualization.segments import SegmentRow, draw_segments

__all__ = [
    "DetectionRow",
    "PlacesRow",
    "SegmentRow",
    "draw_detections",
    "draw_feature_maps",
    "draw_places",
    "draw_prompt_mask_levels",
    "draw_prompt_masks",
    "draw_segments",
    "spatial_softmax_heatmap",
]
