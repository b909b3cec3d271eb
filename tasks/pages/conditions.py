"""Conditions on the figures of a report, such as `agreement<0.6`: read, never executed."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from tasks.steps.errors import InputError

MOST_CHARACTERS: Final = 500
"""Of a condition; so nothing nests deeper than the reader of expressions can."""
_COMPARED: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_COMPUTED: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def holds(condition: str, figures: Mapping[str, float | None]) -> bool:
    """Whether a condition holds for figures.

    It has names of figures (`agreement`, `iou.traffic_light`), numbers, `+ - * /`, comparisons,
    `and`, `or`, `not` and parentheses. A figure alone holds where it is not 0. Nothing of it is
    executed: it is parsed, and only these parts are understood.

    Args:
        condition: The text.
        figures: As `report.json` has them.

    Raises:
        InputError: It is not such a condition, names a figure that there is not, or one that could
            not be measured; every name in it is checked, whatever the others decide.
    """
    if len(condition) > MOST_CHARACTERS:
        raise _condition_error(condition, f"it has more than {MOST_CHARACTERS} characters")
    try:
        parsed = ast.parse(condition.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _condition_error(condition, "it cannot be read") from None
    try:
        return bool(_value(parsed, condition, figures))
    except ZeroDivisionError:
        raise _condition_error(condition, "it divides by 0") from None
    except (RecursionError, OverflowError):
        raise _condition_error(condition, "it cannot be computed") from None


def _value(node: ast.expr, condition: str, figures: Mapping[str, float | None]) -> float:
    def of(one: ast.expr) -> float:
        return _value(one, condition, figures)

    match node:
        case ast.Constant(value=int() | float() as value) if _is_number(value):
            return float(value)
        case ast.Name() | ast.Attribute():
            return _figure(_dotted(node, condition), condition, figures)
        case ast.UnaryOp(op=ast.USub() | ast.Not() as op, operand=operand):
            return -of(operand) if isinstance(op, ast.USub) else float(not of(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMPUTED:
            return _COMPUTED[type(op)](of(left), of(right))
        case ast.BoolOp(op=op, values=values):
            held = [bool(of(one)) for one in values]
            return float(all(held) if isinstance(op, ast.And) else any(held))
        case ast.Compare(left=left, ops=ops, comparators=others):
            found = [of(one) for one in (left, *others)]
            pairs = zip(ops, found, found[1:], strict=False)
            if all(type(op) in _COMPARED for op in ops):
                return float(all(_COMPARED[type(op)](a, b) for op, a, b in pairs))
    raise _condition_error(
        condition, "it has more than names, numbers, + - * /, < <= > >= == !=, and, or, not"
    )


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value)


def _dotted(node: ast.expr, condition: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, condition)}.{node.attr}"
    raise _condition_error(condition, "a dot stands after something that is not a name")


def _figure(name: str, condition: str, figures: Mapping[str, float | None]) -> float:
    if name not in figures:
        known = ", ".join(sorted(figures))
        raise _condition_error(condition, f"the report has no figure {name!r}; it has {known}")
    value = figures[name]
    if value is None:
        raise _condition_error(condition, f"the report has no value of {name!r}")
    return value


def _condition_error(condition: str, why: str) -> InputError:
    shown = condition if len(condition) <= 80 else f"{condition[:79]}…"
    return InputError(f"the condition {shown!r} cannot be checked: {why}")
