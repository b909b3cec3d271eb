"""Keys of a network's configuration that have transformers fetch, import or run something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

_DEEPEST: Final = 12
_NAMES_CODE_OR_PLACES: Final = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_name_or_path",
        "attn_implementation",
        "auto_map",
        "backbone",
        "backbone_kwargs",
        "custom_pipelines",
        "experts_implementation",
        "name_or_path",
        "quantization_config",
        "trust_remote_code",
        "use_pretrained_backbone",
        "use_timm_backbone",
    }
)


def keys_that_name(value: object, depth: int = 0) -> Iterator[str]:
    """Keys, at any depth of a configuration, that name code or places and are set."""
    if depth > _DEEPEST:
        yield "…"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _NAMES_CODE_OR_PLACES and inner:
                yield key
            yield from keys_that_name(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_that_name(inner, depth + 1)
