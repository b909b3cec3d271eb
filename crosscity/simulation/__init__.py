"""Procedural cities with exact labels: perspective-correct road scenes for tests and the demo."""
