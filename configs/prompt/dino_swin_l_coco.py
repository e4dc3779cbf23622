"""Stage 1: prompts of DINO Swin-L, on those maps of its encoder that the students have, too."""

_base_ = ["../_base_/coco_detr_prompt.py"]
prompt = dict(
    teacher="configs/_base_/models/dino_5scale_swin_l.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v3.0/dino/dino-5scale_swin-l_8xb2-12e_coco/"
    "dino-5scale_swin-l_8xb2-12e_coco_20230228_072924-a654145f.pth",
    module="bbox_head.transformer.encoder",
    levels=[1, 2, 3, 4],  # strides 8 to 64
)
