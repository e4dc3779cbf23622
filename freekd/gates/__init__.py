"""Gates: how much each channel, or place, counts."""
