"""A training step as a loss gets it, without a distiller around it."""

import torch

from freekd.losses.step import Step


class LeadingTokens:
    """A task for which a model is no more than the number of its tokens before the patches."""

    def leading_tokens(self, model):
        return model


def step_of(labels=None, leading=None, **more):
    """A step whose batch has these labels of images.

    Args:
        labels: ``gt_label``; None: there are none.
        leading: how many tokens stand before the patches in student and teacher.
        more: fields of :class:`Step`; whatever else is in the batch.
    """
    fields = {name: more.pop(name) for name in Step._fields if name in more}
    if labels is not None:
        more["gt_label"] = labels
    if leading is not None:
        fields.update(student=leading[0], teacher=leading[1], task=LeadingTokens())
    return Step(**{"data": more, "student": torch.nn.Identity(), **fields})


def step_of_boxes(boxes, image=(64, 96), images=None):
    """A step whose batch has these boxes of each image: lists of (x1, y1, x2, y2)."""
    tensors = [torch.tensor(one, dtype=torch.float32).reshape(-1, 4) for one in boxes]
    return step_of(img=torch.zeros(images or len(boxes), 3, *image), gt_bboxes=tensors)
