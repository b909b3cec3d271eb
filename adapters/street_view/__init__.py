"""Providers of street-level images behind one protocol."""
