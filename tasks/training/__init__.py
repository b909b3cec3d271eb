"""Labelled and target images, segmenters, and what trains them."""
