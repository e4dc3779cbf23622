"""Stage 2 of the DINO pair on the bundled task: FreeKD on the encoder's maps."""

_base_ = ["../_base_/pairs/dino_r18w32_r18w16_digits.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/prompt/dino_r18w32_digits/prompts.pth",
            normalize="channel",
            distance="l2",
            loss_weight=2.0,
        )
    )
)
