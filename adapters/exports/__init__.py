"""A city's images, predictions and priors in the formats that other programs read."""

from adapters.exports.base import Exporter, ExportError, ExportItem, check_licences
from adapters.exports.registry import FORMATS, exporter

__all__ = ["FORMATS", "ExportError", "ExportItem", "Exporter", "check_licences", "exporter"]
