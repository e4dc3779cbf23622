"""The pipelines of Segment Anything, for configs: steps as dicts, of inputs of any side.

The image is the same for teacher and student, in training and in tests, and nothing is random in
it: resized by Pillow so that its longer side fits, normalised, then padded with 0 on the right and
below. That is the input of the package's own ``Sam`` bit for bit; what cv2 resizes differs in every
image. Importing this needs nothing.
"""

from typing import Any, Dict, List

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
METAS = ("filename", "ori_filename", "ori_shape", "img_shape", "pad_shape", "scale_factor")
LABELS = ("gt_masks", "gt_points", "gt_boxes", "is_box")

Steps = List[Dict[str, Any]]


def image_steps(side: int) -> Steps:
    """From a file's pixels to the encoder's input of ``side`` x ``side`` pixels."""
    return [
        dict(type="Resize", img_scale=(side, side), keep_ratio=True, backend="pillow"),
        dict(type="Normalize", mean=MEAN, std=STD, to_rgb=True),
        dict(type="Pad", size=(side, side)),
    ]


def training_steps(side: int, masks: bool = True, num_masks: int = 32) -> Steps:
    """The pipeline of training: images, with prompts of up to ``num_masks`` masks or without."""
    resize, *others = image_steps(side)
    load: Steps = [dict(type="LoadSamMasks", most=num_masks)]
    sample: Steps = [dict(type="SamplePrompts", size=side, num_masks=num_masks)]
    return [
        dict(type="LoadImageFromFile"),
        *(load if masks else []),
        resize,
        *(sample if masks else []),
        *others,
        dict(type="ImageToTensor", keys=["img"]),
        dict(type="ToDataContainer", fields=(dict(key="img", stack=True),)),
        dict(type="Collect", keys=["img", *(LABELS if masks else ())], meta_keys=METAS),
    ]


def evaluation_steps(side: int, prompt: str = "point", most: int = 100) -> Steps:
    """The pipeline of an evaluation by ``point`` or ``box``, of ``most`` masks an image at most."""
    resize, *others = image_steps(side)
    return [
        dict(type="LoadImageFromFile"),
        dict(type="SamTestPrompts", prompt=prompt, most=most),
        dict(
            type="MultiScaleFlipAug",
            img_scale=(side, side),
            flip=False,
            transforms=[
                {name: value for name, value in resize.items() if name != "img_scale"},
                *others,
                dict(type="ImageToTensor", keys=["img"]),
                dict(
                    type="Collect",
                    keys=["img"],
                    meta_keys=(*METAS, "sam_prompts", "sam_prompt"),
                ),
            ],
        ),
    ]
