"""Features of a static point must differ from those of other points, at either time.

    L_point = - mean_n log ( exp(f_n · g_n / τ) / Σ_m exp(f_n · g_m / τ) )

f_n is the unit feature of the segmenter at a matched point of the target's image, g_n that of the
teacher at the same point of another image of the place, and m runs over all points that were drawn
in the batch.
Other points push apart what would else all become the same (Bruggemann et al., *Contrastive model
adaptation*, ICCV 2023, eq. 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.correspondence import carry
from crosscity.adaptation.objectives.base import Need, Objective, View


class FeatureConsistency(Objective):
    """InfoNCE between matched points of the two times; needs no label at all."""

    name = "feature_consistency"
    needs: ClassVar[frozenset[Need]] = frozenset({"target", "partner"})
    rows = ("feature_consistency_loss",)
    of_features = True

    @dataclass(frozen=True)
    class Options:
        """Options of the objective.

        Attributes:
            points: Drawn of an image in each step, at most.
            temperature: τ.
        """

        points: int = 128
        temperature: float = 0.1

        def __post_init__(self) -> None:
            if self.points < 2:
                raise ValueError(f"points must be at least 2, not {self.points}")
            if not self.temperature > 0:
                raise ValueError(f"temperature must be greater than 0, not {self.temperature}")

    options: Options

    def prepare(self, view: View) -> tuple[Tensor, Tensor]:
        """Which cells were drawn (indices into M·h·w), and g of these (N×D)."""
        assert view.partner is not None  # noqa: S101 - it is among the needs
        ours, theirs = view.target_features.shape[1], view.partner.features.shape[1]
        if ours != theirs:
            raise ValueError(
                f"{self.name} compares {ours} features of the segmenter with {theirs} of its "
                "teacher: take a teacher of the same architecture, or the slow copy"
            )
        grid = view.target_features.shape[-2:]
        field = _at_cells(view.partner.field, (grid[0], grid[1]))
        carried, known = carry(view.partner.features, field)
        drawn = _drawn(known, self.options.points)
        return drawn, _rows(carried)[drawn]

    def loss(self, view: View) -> Tensor:
        """L_point; 0 where fewer than two points are matched."""
        drawn, theirs = view.prepared[self.name]
        assert view.partner is not None  # noqa: S101 - it is among the needs
        ours = _rows(view.target_features[view.partner.of])[drawn]
        loss = point_loss(ours.float(), theirs.float(), self.options.temperature)
        self.record("feature_consistency_loss", loss)
        return loss


def point_loss(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """L_point of N×D features; 0, with gradient 0, for fewer than two points."""
    if len(ours) < 2:
        return ours.sum() * 0
    one, other = functional.normalize(ours, dim=1), functional.normalize(theirs, dim=1)
    logits = one @ other.T / temperature
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _at_cells(field: Tensor, grid: tuple[int, int]) -> Tensor:
    """The field at the centres of cells, in units of cells: B×h×w×2."""
    height, width = field.shape[1:3]
    rows = ((torch.arange(grid[0], device=field.device) + 0.5) * height / grid[0]).long()
    columns = ((torch.arange(grid[1], device=field.device) + 0.5) * width / grid[1]).long()
    centres = field[:, rows][:, :, columns]
    scale = field.new_tensor([grid[1] / width, grid[0] / height])
    return (centres + 0.5) * scale - 0.5


def _drawn(known: Tensor, most: int) -> Tensor:
    """Indices of up to so many known cells of each image, by the step's random numbers."""
    chosen = []
    for number, cells in enumerate(known.flatten(1)):
        places = cells.nonzero().flatten()
        order = torch.randperm(len(places), device=places.device)[:most]
        chosen.append(places[order].sort().values + number * cells.numel())
    return torch.cat(chosen)


def _rows(features: Tensor) -> Tensor:
    """B×D×h×w as (B·h·w)×D."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)
