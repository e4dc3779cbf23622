"""SAM ViT-Tiny alone: it learns the masks, with the decoder of ViT-H to begin with."""

_base_ = ["../_base_/sam_20k.py"]
model = dict(
    type="SegmentAnything",
    variant="vit_tiny",
    decoder_checkpoint="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
)
