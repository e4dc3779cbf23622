"""The ablation on the bundled task: the same loss without prompts and gate (Eq. 3).

A mask's mean square is a little under 1/2, so half the weight gives a term of about the same size.
"""

_base_ = ["retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(freekd=dict(prompts=None, loss_weight=1.0)))
