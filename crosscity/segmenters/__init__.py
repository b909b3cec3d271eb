"""Segmentation networks that offer features and a classifier."""
