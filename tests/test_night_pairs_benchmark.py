"""What a benchmark makes out of weights that another arm left."""

from __future__ import annotations

import torch

from benchmarks.arms import save
from benchmarks.demo_start import start
from benchmarks.night_pairs import teacher_of
from benchmarks.street_arms import Work
from benchmarks.whole_files import write_json


def test_the_teacher_is_found_in_its_mean_with_the_start(tmp_path):
    work, arm = Work(tmp_path, "tokyo"), "source_free"
    first, teacher, delivered = start(), start(), start()
    torch.manual_seed(0)
    with torch.no_grad():
        for value in teacher.parameters():
            value.add_(0.01 * torch.randn_like(value))
        for buffer, mixed in zip(teacher.buffers(), delivered.buffers(), strict=True):
            buffer.add_(1)  # statistics are delivered as they are
            mixed.copy_(buffer)
        for mean, one, other in zip(
            delivered.parameters(), teacher.parameters(), first.parameters(), strict=True
        ):
            mean.copy_(one.lerp(other, 0.5))
    save(delivered, work.weights(arm, 0))
    write_json(work.row(arm, 0), {})
    found, _ = teacher_of(arm)(work, 0)
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=1e-5)
