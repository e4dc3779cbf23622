"""Stage 1: prompts of the image embedding of SAM ViT-H."""

_base_ = ["../_base_/sam_prompt_2k.py"]
prompt = dict(
    teacher=dict(type="SegmentAnything", variant="vit_h"),
    teacher_checkpoint="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
    module="image_encoder",
    channels=256,
    num_levels=1,
    min_share=1.0,  # the file must have all weights
)
