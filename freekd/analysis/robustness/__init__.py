"""What models keep on corrupted images (COCO-C): mPC, rPC; see ``entry.py``."""
