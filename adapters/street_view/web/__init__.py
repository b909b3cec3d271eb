"""Asking web services politely, and trusting nothing that they answer."""
