"""What is raised where the catalog, or something that it names, is wrong."""

from __future__ import annotations


class CatalogError(ValueError):
    """The catalog, or something asked of it, is wrong; the message names file, line and key."""
