"""Confusion matrices, scoring protocols and per-class IoU."""
