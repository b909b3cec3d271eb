"""How the environment and the command line name a catalog and a compute profile."""

from __future__ import annotations

from typing import Final

DEFAULT_CATALOG: Final = "data_catalog.yaml"
COMPUTE_VARIABLE: Final = "CROSSCITY_COMPUTE"
"""What a machine offers belongs to the machine, so its environment may name its profile."""
