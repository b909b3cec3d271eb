"""Settings of trainings that the catalog changes, checked by the science before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from adapters.catalog import Catalog, City, RecipeEntry, SegmenterEntry, load_catalog
from adapters.catalog.recipes import BUILT_IN_RECIPES
from adapters.catalog.tree import Fault, Key
from crosscity.adaptation import (
    FINE_TUNING_PRESETS,
    PRESETS,
    AdaptationSettings,
    PretrainingSettings,
    SourceFreeSettings,
    Term,
)
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from crosscity.adaptation.settings import SupervisedSettings

Settings = TypeVar("Settings", bound="SupervisedSettings | AdaptationSettings | SourceFreeSettings")

_ARM = (
    "the arm does not belong into the catalog: it is chosen where an adaptation is started, by "
    "`--arm`"
)

_UNREAD: Final[tuple[tuple[str, str, object, str], ...]] = (
    ("momentum", "optimiser", "adam", "it is of sgd, and the optimiser is adam"),
    (
        "balanced_predictions",
        "class_balance",
        0.0,
        "it keeps class weights, and class_balance is 0",
    ),
    ("discriminator_dropout", "discriminator_hidden", (), "it follows hidden layers, and none is"),
    ("statistics_images", "statistics", 0.0, "they are measured for statistics, whose share is 0"),
    ("validate_every", "until", "steps", "it is of until: plateau"),
    ("patience", "until", "steps", "it is of until: plateau"),
    ("least_gain", "until", "steps", "it is of until: plateau"),
    ("cooldown", "until", "steps", "it is of until: plateau"),
    ("schedule", "until", "plateau", "until: plateau has a course of the rate of its own"),
    ("mix", "batch_size", 1, "it puts one image of a batch into another, and batch_size is 1"),
)
"""A setting, another one, and the value of that with which nothing reads the first; and why."""


def open_catalog(path: Path) -> Catalog:
    """Reads and validates a catalog, settings of trainings included.

    Raises:
        CatalogError: As of `load_catalog`; a setting that is not there, or a value that is wrong,
            is reported with file, line and key.
    """
    return load_catalog(path, further=settings_faults)


def settings_faults(catalog: Catalog) -> Iterator[Fault]:
    """Wrong `pretraining`, `adaptation` and `fine_tuning` of a catalog, with their keys."""
    faults = list(_single_faults(catalog))
    yield from faults
    if not faults:
        yield from _unlike_predictions(catalog)
        yield from _lacking_recipes(catalog)


def _single_faults(catalog: Catalog) -> Iterator[Fault]:
    """Settings that are wrong by themselves."""
    segmenters = {name: one for name, one in catalog.segmenters.items() if one.pretraining}
    trainings = {
        name: one
        for name, one in catalog.trainings.items()
        if one.adaptation or one.fine_tuning or one.source_free
    }
    for name, segmenter in segmenters.items():
        here: Key = ("segmenters", name, "pretraining")
        yield from _with_key_before(here, _checked(PretrainingSettings(), segmenter.pretraining))
    for name, training in trainings.items():
        here = ("trainings", name, "adaptation")
        adaptation = dict(training.adaptation)
        if "arm" in adaptation:
            del adaptation["arm"]
            yield (*here, "arm"), _ARM
        yield from _with_key_before(
            here, _checked(PRESETS[training.preset], adaptation, hidden="arm")
        )
        here = ("trainings", name, "fine_tuning")
        defaults = FINE_TUNING_PRESETS[training.preset]
        yield from _with_key_before(here, _checked(defaults, training.fine_tuning))
        here = ("trainings", name, "source_free")
        alone = dict(training.source_free)
        if "looks" in alone:
            del alone["looks"]
            yield (*here, "looks"), "it is the arm source_free_looks: remove looks"
        yield from _with_key_before(here, _checked(SourceFreeSettings(), alone, hidden="looks"))
    for name, recipe in catalog.recipes.items():
        here = ("recipes", name, "settings")
        own = dict(recipe.settings)
        if "arm" in own:
            del own["arm"]
            yield (*here, "arm"), "a recipe is not an arm: remove arm"
        checked = _checked(AdaptationSettings(), own, hidden="arm", beside=own)
        yield from _with_key_before(here, checked)
    yield from _objective_faults(catalog)


def _objective_faults(catalog: Catalog) -> Iterator[Fault]:
    """Objectives of recipes that there are not, and options that they do not take."""
    if not catalog.recipes:
        return  # objectives bring PyTorch, which takes longer than all else that reads a catalog
    from crosscity.adaptation.objectives import find_objective  # noqa: PLC0415
    from crosscity.adaptation.objectives.base import checked_options  # noqa: PLC0415
    from tasks.steps.recipes import needs_of_entry  # noqa: PLC0415

    for name, entry in catalog.recipes.items():
        faults = []
        for number, one in enumerate(entry.objectives):
            try:
                checked_options(find_objective(one.name), one.options)
                Term(one.name, one.weight, "", one.start, one.ramp)
            except ValueError as error:
                faults.append((("recipes", name, "objectives", number), str(error)))
        yield from faults
        if faults:
            continue
        try:
            needs_of_entry(entry)
        except ValueError as error:
            yield ("recipes", name), str(error)


def _lacking_recipes(catalog: Catalog) -> Iterator[Fault]:
    """Recipes that read what is not there: of the city that names one as its arm, or at all."""
    for name, recipe in catalog.recipes.items():
        measured = catalog.cities.get(recipe.flag_rates_of or "")
        if measured is not None and not measured.labelled_training_places:
            yield (
                ("recipes", name, "flag_rates_of"),
                f"no training place of {recipe.flag_rates_of} has a label, so nothing tells how "
                "often its static priors flag each class: name another city, or give flag_rates",
            )
    known = {**BUILT_IN_RECIPES, **catalog.recipes}
    for name, city in catalog.cities.items():
        if city.arm not in known:
            continue
        named = (city.segmenter, known[city.arm].teacher)
        if all(one is None or one in catalog.segmenters for one in named):  # else told already
            lacks = lacks_of_recipe(city.arm, known[city.arm], city, catalog.segmenters)
            for sentence in lacks:
                yield ("cities", name, "arm"), sentence


def lacks_of_recipe(
    arm: str, recipe: RecipeEntry, city: City, segmenters: Mapping[str, SegmenterEntry]
) -> Iterator[str]:
    """What a city lacks that a recipe reads, in sentences.

    Args:
        arm: Name of the recipe.
        recipe: The recipe.
        city: The city.
        segmenters: Of the catalog, by name.
    """
    segmenter = segmenters[city.segmenter]
    if segmenter.source is None and _reads_source(recipe):
        yield (
            f"the recipe {arm!r} trains on images of the source set, and segmenters."
            f"{city.segmenter} has no source: name it there, or a recipe that reads none"
        )
    wanted, there = recipe.labels, city.labelled_training_places
    if wanted is not None and wanted.dataset is None and there < wanted.places:
        yield (
            f"the recipe {arm!r} learns from labels of {wanted.places} training places, and "
            + (f"{there} of the city have some" if there else "none of the city has any")
            + ": name labels.dataset in the recipe, or another arm"
        )
    if recipe.teacher is None:
        return
    theirs, ours = (
        one.options.get("class_names") for one in (segmenters[recipe.teacher], segmenter)
    )
    if theirs != ours:
        yield (
            f"the teacher of the recipe {arm!r}, segmenters.{recipe.teacher}, has other classes "
            f"than segmenters.{city.segmenter} (class_names in their options): give both the same"
        )


def _reads_source(recipe: RecipeEntry) -> bool:
    from tasks.steps.recipes import needs_of_entry  # noqa: PLC0415 - brings PyTorch

    return "source" in needs_of_entry(recipe)


def _unlike_predictions(catalog: Catalog) -> Iterator[Fault]:
    """Adaptations whose task loss would move all predictions away from the segmenter's.

    Weights of rare classes stay in the predictions with `balanced_predictions`. Where only one of
    pre-training and adaptation keeps them, the first steps of the adaptation unlearn or learn a
    preference for rare classes, in every arm, and no error would tell.
    """
    changed = [
        *(segmenter.pretraining for segmenter in catalog.segmenters.values()),
        *(training.adaptation for training in catalog.trainings.values()),
    ]
    if not any("balanced_predictions" in changes for changes in changed):
        return
    for section, entries in (("cities", catalog.cities), ("transfers", catalog.transfers)):
        for name, entry in entries.items():
            segmenter = catalog.segmenters.get(entry.segmenter)
            training = catalog.trainings.get(entry.training)
            # Nothing is known about the loss that weights from elsewhere were trained with.
            if segmenter is None or training is None or segmenter.weights is not None:
                continue
            before = _kept_weights(_settings_with(PretrainingSettings(), segmenter.pretraining))
            after = _kept_weights(_settings_with(PRESETS[training.preset], training.adaptation))
            if before != after:
                yield (
                    (section, name, "training"),
                    f"segmenters.{entry.segmenter}.pretraining keeps class weights of exponent "
                    f"{before:g} in the predictions, trainings.{entry.training}.adaptation of "
                    f"{after:g}: give both the same balanced_predictions and class_balance",
                )


def _kept_weights(settings: SupervisedSettings | AdaptationSettings) -> float:
    """Exponent of the class weights that stay in what a network predicts; 0: none do."""
    return settings.class_balance if settings.balanced_predictions else 0.0


def checked_settings(defaults: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with what the catalog changes of them.

    Raises:
        InputError: There is no such field, or a value is of the wrong type or out of range.
    """
    for key, sentence in _faults(defaults, changes):
        where = ".".join(map(str, (type(defaults).__name__, *key)))
        raise InputError(f"the catalog's settings are wrong: {where}: {sentence}")
    return _settings_with(defaults, changes)


def _with_key_before(here: Key, faults: Iterable[Fault]) -> Iterator[Fault]:
    return (((*here, *key), sentence) for key, sentence in faults)


def _checked(
    defaults: Settings,
    changes: Mapping[str, Any],
    *,
    hidden: str | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Iterator[Fault]:
    """`_faults`, and settings that nothing reads beside the others.

    Of a recipe, which goes with any training, the others are those that it states (`beside`).
    """
    faults = list(_faults(defaults, changes, hidden=hidden))
    yield from faults
    if faults:
        return
    made = _settings_with(defaults, changes)
    for name, other, value, why in _UNREAD:
        is_known = beside is None or other in beside
        if changes.get(name) and is_known and getattr(made, other, None) == value:
            yield (name,), f"{why}: remove {name}, or change {other}"


def _faults(
    defaults: Settings, changes: Mapping[str, Any], *, hidden: str | None = None
) -> Iterator[Fault]:
    """What is wrong with changes of settings; `hidden` is a field that is not named."""
    known = [field.name for field in fields(defaults)]
    shown = ", ".join(name for name in known if name != hidden)
    for name in changes:
        if name not in known:
            yield (name,), f"no such setting; there are {shown}"
    changes = {name: value for name, value in changes.items() if name in known}
    try:
        _settings_with(defaults, changes)
    except ValidationError as error:
        for one in error.errors():
            sentence = _sentence(one)
            if one["loc"]:
                yield one["loc"], f"{sentence} (it is {one['input']!r})"
            else:
                yield _to_blame(defaults, changes), sentence


def _to_blame(defaults: Settings, changes: Mapping[str, Any]) -> Key:
    """The field that is out of range; the empty key where only several together are wrong."""
    for name, value in changes.items():
        try:
            _settings_with(defaults, {name: value})
        except ValidationError:
            return (name,)
    return ()


def _settings_with(defaults: Settings, changes: Mapping[str, Any]) -> Settings:
    values = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    # mypy takes the class for one of its instances, which have no hash.
    adapter = _adapter(type(defaults))  # type: ignore[arg-type]
    made: Settings = adapter.validate_python({**values, **changes})
    return made


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Made once: that takes longer than all else that is done to open a catalog."""
    return TypeAdapter(kind)


def _sentence(error: Mapping[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")
