"""Labelled and unlabelled image sets behind one protocol."""
