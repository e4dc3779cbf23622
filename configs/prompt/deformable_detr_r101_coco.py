"""Stage 1: prompts of Deformable DETR R101, on its encoder's output; train the teacher first."""

_base_ = ["../_base_/coco_detr_prompt.py"]
prompt = dict(
    teacher="configs/teacher/deformable_detr_r101_coco.py",
    teacher_checkpoint="work_dirs/teacher/deformable_detr_r101_coco/latest.pth",
    module="bbox_head.transformer.encoder",
)
