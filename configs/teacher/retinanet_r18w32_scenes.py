"""Teacher of the scenes: ten digits and twelve letters, 14 epochs.

Then: python tools/model_converters/keep_classes.py configs/_base_/models/retinanet_r18w32_scenes.py
    work_dirs/scenes/teacher/latest.pth --classes 0 1 2 3 4 5 6 7 8 9
    --out-path work_dirs/scenes/teacher/digits.pth
"""

_base_ = ["../_base_/models/retinanet_r18w32_scenes.py", "../_base_/scenes_6e.py"]
classes = (*"0123456789", *"AEFHKMNRTVWX")
model = dict(bbox_head=dict(num_classes=22))
data = dict(train=dict(classes=classes), val=dict(classes=classes), test=dict(classes=classes))
runner = dict(max_epochs=14)
work_dir = "work_dirs/scenes/teacher"
