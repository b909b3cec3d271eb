"""Prefect flows: parameters and task calls, nothing computed; and the command line over them."""

import os

# Threads of PyTorch wait for each other by spinning, for milliseconds by default (GNU's OpenMP:
# 300 000 turns, and 1 000 where it knows of more threads than processors). Several runs on one
# machine know nothing of each other: the one that waits then keeps the other from what it waits
# for. It is read once, when PyTorch is loaded, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
