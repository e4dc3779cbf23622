"""SA-1B, images and masks, in lists that tools/list_sa1b.py writes; inputs of 1024 pixels."""

from freekd.datasets.sam_steps import evaluation_steps, training_steps

task = "det"
data_help = "Link SA-1B there and write its lists: python tools/list_sa1b.py data/sa1b"
data_root = "data/sa1b"
test_set = dict(
    type="SegmentAnythingDataset",
    data_root=data_root,
    ann_file="val.txt",
    pipeline=evaluation_steps(1024),
    reference=None,  # the teacher's masks: tools/sam_reference.py
)
data = dict(
    samples_per_gpu=4,  # for 8 GPUs
    workers_per_gpu=4,
    train=dict(
        type="SegmentAnythingDataset",
        data_root=data_root,
        ann_file="train.txt",
        pipeline=training_steps(1024),
    ),
    val=test_set,
    test=test_set,
)
evaluation = dict(interval=1000000, metric="mIoU")  # and always at the end of a run
