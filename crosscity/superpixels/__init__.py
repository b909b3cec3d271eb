"""Entropy Rate Superpixels (Liu et al., CVPR 2011)."""
