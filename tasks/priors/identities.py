"""What decides static priors, and finding those that are of what the catalog says now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.image_masks import ImageMask
from adapters.store import ArtifactRef, Manifest, Store
from crosscity import partitioning as superpixels_module
from crosscity import several_times as times_module
from crosscity import static_regions as prior_module
from crosscity.illustrations import DRAWING_VERSION
from crosscity.matching import ALGORITHM_VERSION as MATCHING_VERSION
from tasks.steps.artifact_task import digests
from tasks.steps.errors import InputError, StaleError
from tasks.steps.identity import Identity, Words, find, missing, newest, required
from tasks.steps.plan import Plan

PRIOR_VERSION = (
    f"2-matching.{MATCHING_VERSION}-superpixels.{superpixels_module.ALGORITHM_VERSION}"
    f"-prior.{prior_module.ALGORITHM_VERSION}"
)
"""The science's own versions are in it, so a change there makes new priors by itself."""


def prior_version(city: str, plan: Plan) -> str:
    """The version of a city's priors; that of further times counts where there may be some."""
    entry = plan.city(city)
    if entry.times <= 2 or entry.prior.coverage == 0:
        return PRIOR_VERSION
    return f"{PRIOR_VERSION}-times.{times_module.ALGORITHM_VERSION}"


def prior_parameters(city: str, plan: Plan) -> dict[str, Any]:
    """Settings that the static priors of a city depend on."""
    return {**plan.city(city).prior.model_dump(), **mask_parameters(city_mask(plan, city))}


def city_mask(plan: Plan, city: str) -> ImageMask | None:
    """The pixels of a city's images that show its provider; ``None`` where there are none.

    Raises:
        CatalogError: The drawn mask cannot be used.
    """
    entry = plan.city(city).provider.mask
    return None if entry is None else entry.open(plan.root, f"cities.{city}.provider.mask")


def mask_parameters(mask: ImageMask | None) -> dict[str, str]:
    """What of a mask the key of a step depends on; nothing where there is none."""
    return {} if mask is None else {"mask": mask.digest()}


def part_identity(
    imagery: ArtifactRef, pairs: ArtifactRef, part: int, size: int, city: str, plan: Plan
) -> Identity:
    """What decides the priors of one shard of pairs; `size` is that of all shards."""
    return Identity(
        "static_prior_part",
        city,
        inputs={"imagery": imagery, "pairs": pairs},
        parameters={"part": part, "part_size": size, **prior_parameters(city, plan)},
        version=prior_version(city, plan),
        words=_words(city),
    )


def priors_identity(parts: Sequence[ArtifactRef], pairs: ArtifactRef, city: str) -> Identity:
    """What decides the joined priors of a city."""
    return Identity(
        "static_prior",
        city,
        inputs={"pairs": pairs, **digests(parts)},
        parameters={},
        version=PRIOR_VERSION,
        words=_words(city),
        producer="static_prior",
        marks=(),
    )


def figure_identity(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> Identity:
    """What decides the picture of one pair with its prior."""
    return Identity(
        "illustration",
        city,
        inputs={"imagery": imagery, "pairs": pairs},
        parameters={"figure": "prior", **prior_parameters(city, plan)},
        version=f"{PRIOR_VERSION}-drawing.{DRAWING_VERSION}",
        words=Words(
            what=f"the picture of a prior of {city} was",
            absent=f"{city} has no prior_figure yet",
            verb=f"crosscity priors {city}",
            section="prior.",
            keys={"mask": "provider.mask"},
        ),
        producer="prior",
        marks=("figure",),
    )


def extracted(pairs: ArtifactRef, city: str, plan: Plan) -> ArtifactRef:
    """The `static_prior` of these pairs with the settings of now.

    Into how many shards they were divided does not matter.

    Raises:
        InputError: It is not there; says why.
    """
    store, entry = plan.open_store(), plan.city(city)
    imagery = store.inputs_of(pairs).get("imagery")
    if imagery is None:
        raise InputError(f"the images of {city} are gone: run `crosscity harvest {city}`")
    joined = priors_identity((), pairs, city)
    last = newest(store, joined)
    size = _shard_size(imagery, pairs, last, city, plan)
    found = _whole(imagery, pairs, size, last, city, plan)
    if found is not None:
        return found
    if last is None:
        raise missing(store, joined)
    if not isinstance(last.inputs, dict) or last.inputs.get("pairs") != pairs.digest:
        raise StaleError(
            f"the static priors of {city} are of an earlier harvest: run `crosscity priors {city}`"
        )
    # Both are of these pairs, so what differs is in the shards.
    wanted = part_identity(imagery, pairs, 0, entry.pairs_per_part, city, plan)
    raise missing(store, wanted, _first_part(store, last))


def shard_size(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> int:
    """Pairs a shard: as the catalog says, unless all priors are there in shards of another size."""
    last = newest(plan.open_store(), priors_identity((), pairs, city))
    return _shard_size(imagery, pairs, last, city, plan)


def required_figure(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> ArtifactRef:
    """The picture of a prior; `InputError` where it is not there."""
    return required(plan.open_store(), figure_identity(imagery, pairs, city, plan))


def count_to_train_on(store: Store, pairs: ArtifactRef) -> int:
    """Number of training pairs, as the manifest says."""
    return int(str(store.manifest(pairs).summary["train"]))


def _shard_size(
    imagery: ArtifactRef, pairs: ArtifactRef, last: Manifest | None, city: str, plan: Plan
) -> int:
    """`shard_size`, with the priors of the city that were made last."""
    size = plan.city(city).pairs_per_part
    part = None if last is None else _first_part(plan.open_store(), last)
    other = None if part is None else part.parameters.get("part_size")
    if not isinstance(other, int) or other in (0, size):
        return size
    return size if _whole(imagery, pairs, other, last, city, plan) is None else other


def _whole(
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    size: int,
    last: Manifest | None,
    city: str,
    plan: Plan,
) -> ArtifactRef | None:
    """The joined priors in shards of a size, if they are there; first a look at the last ones."""
    store, parts = plan.open_store(), []
    wanted = [
        part_identity(imagery, pairs, part, size, city, plan)
        for part in range(-(-count_to_train_on(store, pairs) // size))
    ]
    if last is not None and _is_joined_of(last, wanted, pairs):
        return last.ref
    for identity in wanted:
        there = find(store, identity)
        if there is None:
            return None
        parts.append(there)
    return find(store, priors_identity(parts, pairs, city))


def _is_joined_of(priors: Manifest, parts: Sequence[Identity], pairs: ArtifactRef) -> bool:
    """Whether joined priors are these shards' of these pairs, by what their manifest says.

    The key of a shard has all that decides it. So this looks at no shard, of which a large city has
    thousands, each a request where the store is far away.
    """
    places = {
        f"part-{number:05d}": f"{part.kind}/{part.owner}/{part.key}"
        for number, part in enumerate(parts)
    }
    made_of = priors.inputs if isinstance(priors.inputs, dict) else {}
    at = {role: place for role, place in priors.inputs_at.items() if role != "pairs"}
    return (
        at == places
        and made_of.keys() == {"pairs", *places}
        and made_of["pairs"] == pairs.digest
        and priors.version == PRIOR_VERSION
    )


def _first_part(store: Store, priors: Manifest) -> Manifest | None:
    place = priors.inputs_at.get("part-00000")
    ref = store.known_at(place) if place else store.inputs_of(priors.ref).get("part-00000")
    return None if ref is None else store.manifest(ref)


def _words(city: str) -> Words:
    return Words(
        what=f"the static priors of {city} were",
        absent=f"{city} has no static priors yet",
        verb=f"crosscity priors {city}",
        section="prior.",
        keys={"mask": "provider.mask"},
        ignored=("part", "part_size"),
    )
