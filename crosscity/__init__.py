"""The science of cross-city adaptation: arrays and tensors in, arrays and tensors out.

Nothing here knows of orchestration, networks, storage or paths. Every module imports where only
NumPy, PyTorch, Numba and OpenCV are installed.
"""
