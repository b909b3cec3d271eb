"""Prefect flows: parameters and task calls, nothing computed; and the command line over them."""
