"""Cached, resumable steps: inputs by digest in, exactly one artifact out."""
