"""Stage 2b of SAM ViT-H -> ViT-Tiny: the mask decoder learns with the encoder of stage 2a."""

_base_ = ["../_base_/sam_decoder_10k.py"]
model = dict(
    type="SegmentAnything",
    variant="vit_tiny",
    frozen=["image_encoder", "prompt_encoder"],
    checkpoint="work_dirs/freekd/sam_vit_h_vit_tiny_encoder/latest.pth",
)
