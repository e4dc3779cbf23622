"""A small Segment Anything of inputs of 128 pixels: its encoder is 96 wide and 4 blocks deep."""

model = dict(
    type="SegmentAnything",
    arch=dict(
        image_size=128,
        embed_dim=96,
        depth=4,
        num_heads=6,
        global_attn_indexes=[1, 3],
        window_size=4,
        out_chans=64,
        decoder_heads=4,
        decoder_mlp=128,
        iou_hidden=64,
    ),
)
