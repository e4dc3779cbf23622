"""SAM ViT-H -> ViT-Tiny, stage 2a: the image embedding on SA-1B, 10 000 iterations."""

_base_ = ["../sam_encoder_10k.py"]
baseline = "configs/baseline/sam_vit_tiny.py"
pair = dict(
    teacher=dict(type="SegmentAnything", variant="vit_h"),
    teacher_checkpoint="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
    student=dict(
        type="SegmentAnything",
        variant="vit_tiny",
        mask_loss=False,
        frozen=["prompt_encoder", "mask_decoder"],
    ),
    module="image_encoder",
    channels=256,
    student_channels=256,
    num_levels=1,
    inherit=["prompt_encoder", "mask_decoder"],
    min_share=1.0,  # the file must have all weights
)
