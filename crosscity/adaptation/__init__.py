"""Adversarial adaptation of a segmenter (paper Sec. 4): losses, discriminators, training."""
