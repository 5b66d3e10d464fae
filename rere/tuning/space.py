"""The search space: settings by their dotted names, and every corner of it checked before a trial runs.

Values that Optuna can't store (lists, mappings) go to it as JSON text, and come back as what they are.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel

from rere.config.reading import meant
from rere.config.tuning import Choices, FloatRange, IntRange, Range
from rere.errors import RereError

MOST_CORNERS = 4_096  # of more, those of every two names are checked, the others' settings as they are
MOST_STEPS = 1_000  # whole numbers of a range that are checked one by one
Space = Mapping[str, Range]
Plain = dict[str, Any]  # settings as plain values, by stage
Model = TypeVar("Model", bound=BaseModel)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in Optuna's words."""
    return {name: _distribution(own) for name, own in space.items()}


def values_of(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values of settings by dotted name, from what Optuna chose."""
    chosen: dict[str, Any] = {}
    for name, value in parameters.items():
        own = space[name]
        chosen[name] = own.choices[_texts(own).index(value)] if isinstance(own, Choices) else value
    return chosen


def changed(settings: Plain, values: Mapping[str, Any]) -> Plain:
    """Plain settings with some of them changed, by their dotted names.

    Raises:
        RereError: a name that leads through null, through a value, or to a member that a list lacks. An unknown key at
            its end isn't noticed here, but by the settings' types.
    """
    result = copy.deepcopy(settings)
    for name, value in values.items():
        *path, last = name.split(".")
        here: Any = result
        for depth, part in enumerate(path):
            here = _inside(here, part, name, ".".join(path[: depth + 1]))
        if isinstance(here, list):
            here[_position(here, last, name)] = value
        else:
            here[last] = value
    return result


def start_of(space: Space, settings: Plain, check: Callable[[Plain], BaseModel]) -> dict[str, Any] | None:
    """The settings as they stand, in Optuna's words; None where one of them lies outside of the space."""
    start: dict[str, Any] = {}
    present = check(settings)
    for name, own in space.items():
        if isinstance(own, Choices):
            same = [n for n, choice in enumerate(own.choices) if check(changed(settings, {name: choice})) == present]
            if not same:
                return None
            start[name] = _texts(own)[same[0]]
        else:
            value = _value(settings, name)
            if not _holds(own, value):
                return None
            start[name] = value
    return start


def require_valid(space: Space, settings: Plain, check: Callable[[Plain], Model]) -> None:
    """Check the corners of the space, and each whole number of a range, as settings.

    Args:
        settings: the run's, plain values by stage.
        check: settings of their own types, or RereError.

    Raises:
        RereError: a name that is no setting, or values that settings don't take; says which.
    """
    for values in (*_alone(space), *_corners(space)):
        try:
            check(changed(settings, values))
        except RereError as error:
            _, got, remedy = error.parts
            corner = ", ".join(f"{name} = {value!r}" for name, value in values.items())
            expected = "a `tuning.space` of settings, with values that they take"
            raise RereError(expected, f"{got}, with {corner}", remedy) from None


def _alone(space: Space) -> Iterator[dict[str, Any]]:
    """Each name by itself: a message then names the one that is wrong."""
    for name, own in space.items():
        ends = _ends(own)
        if isinstance(own, IntRange) and (own.high - own.low) // own.step < MOST_STEPS:
            ends = list(range(own.low, own.high + 1, own.step))
        yield from ({name: value} for value in ends)


def _corners(space: Space) -> Iterator[dict[str, Any]]:
    ends = {name: _ends(own) for name, own in space.items()}
    together = [tuple(ends)]
    if math.prod(map(len, ends.values())) > MOST_CORNERS:
        together = list(itertools.combinations(ends, 2))
    for names in together:
        for values in itertools.product(*(ends[name] for name in names)):
            yield dict(zip(names, values, strict=True))


def _ends(own: Range) -> list[Any]:
    return list(own.choices) if isinstance(own, Choices) else [own.low, own.high]


def _distribution(own: Range) -> BaseDistribution:
    if isinstance(own, FloatRange):
        return FloatDistribution(own.low, own.high, log=own.scale == "log")
    if isinstance(own, IntRange):
        return IntDistribution(own.low, own.high, log=own.scale == "log", step=own.step)
    return CategoricalDistribution(_texts(own))


def _holds(own: FloatRange | IntRange, value: Any) -> bool:
    if not isinstance(value, int | float) or not own.low <= value <= own.high:
        return False
    return isinstance(own, FloatRange) or (value - own.low) % own.step == 0


def _texts(own: Choices) -> list[str]:
    return [json.dumps(choice, sort_keys=True) for choice in own.choices]


def _value(settings: Plain, name: str) -> Any:
    here: Any = settings
    for part in name.split("."):
        here = here[_position(here, part, name)] if isinstance(here, list) else here[part]
    return here


def _inside(here: Any, part: str, name: str, path: str) -> Any:
    """What a part of a name leads to."""
    if isinstance(here, list):
        found = here[_position(here, part, name)]
    elif part in here:
        found = here[part]
    else:
        raise RereError("settings", f"{path}: no such setting{meant(part, here)}", "correct the name")
    if not isinstance(found, dict | list):
        got = f"{name}, though {path} is {json.dumps(found)}"
        raise RereError("settings", got, f"give {path} settings of its own, or leave the name out")
    return found


def _position(members: list[Any], part: str, name: str) -> int:
    """Of a list's member: by its number, or by its `type`."""
    types = [str(member.get("type", "")) if isinstance(member, dict) else "" for member in members]
    if part in types:
        return types.index(part)
    if part.isdecimal() and int(part) < len(members):
        return int(part)
    known = [*filter(None, types), *map(str, range(len(members)))]
    raise RereError("settings", f"{name}: the list has no {part!r}{meant(part, known)}", "correct the name")
