"""What a run can end with that its user, not its author, must act on."""

from __future__ import annotations


class InputError(ValueError):
    """What was asked for is wrong or not there yet; the message says what to do."""


class UnwritableError(InputError):
    """A place of this machine, other than the store, cannot be written; the message says which."""


class StaleError(InputError):
    """What is there was made with other settings, by another version, or of other inputs."""


class ClusterAwayError(ConnectionError):
    """The workers of a run do not answer; the same command may succeed later."""


class DeviceFailedError(RuntimeError):
    """A device failed amid the work; the same command may succeed later."""


class PartKillsWorkersError(RuntimeError):
    """A part of the work ended every worker that tried it."""


class TooManyFailures(RuntimeError):  # noqa: N818 - it is the finding, not an error of the code
    """More images or pairs failed than the catalog allows."""


def check_failures(
    what: str,
    failed: dict[str, int],
    total: int,
    limit: float,
    set_by: str = "that the catalog's failure_limit sets",
) -> None:
    """Lets a city complete with a few bad images, and stops it when too many are.

    Args:
        what: What was counted, in the plural ("images", "pairs").
        failed: Number of failures by reason.
        total: How many were tried.
        limit: The catalog's `failure_limit`, a fraction of `total`.
        set_by: What sets the limit, or what to do, after "the limit of 5 %".

    Raises:
        TooManyFailures: More than `limit` of them failed, or nothing at all was left.
    """
    from crosscity.percentages import percentage  # noqa: PLC0415 - `--help` needs these names alone

    count = sum(failed.values())
    if total and (count > limit * total or count == total):
        worst = sorted(failed.items(), key=lambda item: (-item[1], item[0]))[:3]
        reasons = "; ".join(f"{number} × {reason}" for reason, number in worst)
        if count <= limit * total:
            raise TooManyFailures(f"all {total} {what} failed, and nothing is left: {reasons}")
        raise TooManyFailures(
            f"{count} of {total} {what} failed, more than the limit of {percentage(limit, 0)}% "
            f"{set_by}: {reasons}"
        )
