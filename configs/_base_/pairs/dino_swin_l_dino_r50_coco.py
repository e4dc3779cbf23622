"""DINO Swin-L, 5 scales -> R50, 4 scales: who teaches whom, on which data, for how long."""

_base_ = ["../coco_dino_12e.py"]
pair = dict(
    teacher="configs/_base_/models/dino_5scale_swin_l.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v3.0/dino/dino-5scale_swin-l_8xb2-12e_coco/"
    "dino-5scale_swin-l_8xb2-12e_coco_20230228_072924-a654145f.pth",
    student="configs/_base_/models/dino_4scale_r50.py",
    module="bbox_head.transformer.encoder",
    levels=dict(teacher=[1, 2, 3, 4]),  # strides 8 to 64: the student has no stride 4
)
