"""Imitation of the teacher's box regression, beside a method: its card, for mmdet's own loss."""

from .card import Card

CARD = Card(
    name="regression",
    title="Box regression imitation",
    summary="What the head's last regression layer gives, by mmdet's smooth L1.",
    kind="mmdet.SmoothL1Loss",
    tasks=("det",),
    maps=False,
)
