"""Cron expressions of five fields, in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def allowed(field: str, first: int, last: int) -> set[int]:
    """The values that a field admits: `*`, `*/5`, `1-5`, `1,2`, `10-20/2`."""
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = (f"{first}-{last}" if span == "*" else span).partition("-")
        values |= set(range(int(low), int(high or (last if step else low)) + 1, int(step or 1)))
    return {value % 7 for value in values} if (first, last) == (0, 6) else values


def times(expression: str, after: datetime, until: datetime) -> list[datetime]:
    """The moments in (after, until] at which the expression fires."""
    fields = expression.split()
    sets = [allowed(field, *bounds) for field, bounds in zip(fields, RANGES, strict=True)]
    found, moment = [], after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment <= until:
        days = (moment.day in sets[2], moment.isoweekday() % 7 in sets[4])
        # When both day fields are restricted, either may match.
        day = any(days) if "*" not in (fields[2], fields[4]) else all(days)
        if day and moment.month in sets[3] and moment.hour in sets[1] and moment.minute in sets[0]:
            found.append(moment)
        moment += timedelta(minutes=1)
    return found
