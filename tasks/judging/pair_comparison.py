"""What any two segmenters show on the pairs of a city, without a verdict on one of them."""

from __future__ import annotations

from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Store
from tasks.judging.pairs_seen import examined_parameters, look_at_pairs, signals_as_json
from tasks.judging.safeguard import SAFEGUARD_VERSION
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.training.stored_networks import read_class_names

PAIR_COMPARISON_VERSION: Final = f"1-{SAFEGUARD_VERSION}"


def check_same_classes(store: Store, first: ArtifactRef, second: ArtifactRef) -> None:
    """Fails before any work where two segmenters cannot be compared.

    Raises:
        InputError: They are one and the same, or know other classes.
    """
    if first.digest == second.digest:
        raise InputError(f"both are {first.uri}: name two different segmenters to compare")
    names = [read_class_names(store, ref) for ref in (first, second)]
    if names[0] == names[1]:
        return
    only = [sorted(set(names[i]) - set(names[1 - i])) for i in (0, 1)]
    told = [
        f"{ref.uri} has {len(names[i])} classes"
        + (f" ({_some(only[i])} only there)" if only[i] else "")
        for i, ref in enumerate((first, second))
    ]
    raise InputError(
        f"{told[0]} and {told[1]}: segmenters of other label spaces cannot be compared class by "
        "class; compare two that name the same classes in the same order"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


@artifact_task("compare on pairs", run_name="compare two segmenters on pairs of {city}")
def compare_on_pairs(
    first: ArtifactRef,
    second: ArtifactRef,
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
) -> Made:
    """Agreement of the two times with each of two segmenters, on training pairs of the city.

    It is not a judgement: nothing that promotes reads it.
    """
    stage = f"compare on pairs of {city}"

    def write(draft: Draft, _key: str) -> None:
        seen = look_at_pairs(draft, (first, second), imagery, pairs, city, plan, stage=stage)
        draft.summary = {"signals": signals_as_json(seen.signals), "failed": seen.failed}

    identity = pair_comparison_identity(first, second, imagery, pairs, city, plan)
    return make(plan.open_store(), identity, write)


def pair_comparison_identity(
    first: ArtifactRef,
    second: ArtifactRef,
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
) -> Identity:
    """What decides a comparison on pairs; arguments as of `compare_on_pairs`."""
    return Identity(
        "pair_comparison",
        city,
        inputs={"first": first, "second": second, "imagery": imagery, "pairs": pairs},
        parameters=examined_parameters(plan, city),
        version=PAIR_COMPARISON_VERSION,
        words=Words(
            what=f"the comparison of two segmenters on pairs of {city} was",
            absent=f"no two segmenters have been compared on pairs of {city} yet",
            verb=f"crosscity compare {first.key[:12]} {second.key[:12]} --on {city}",
        ),
    )


def read_signals(store: Store, ref: ArtifactRef) -> dict[str, Any]:
    """The signals of a `pair_comparison` artifact; `before` is of the first segmenter."""
    found: Any = store.manifest(ref).summary["signals"]
    return dict(found)
