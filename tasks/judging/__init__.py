"""Scores, the safeguard and promotion."""
