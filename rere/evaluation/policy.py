"""Does a run ask less of a challenger than the registered model's policy does?"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from rere.config.promotion import GateConfig, Stricter


def weakened(policy: GateConfig, asked: GateConfig) -> list[str]:
    """What `asked` is laxer in than `policy`: a line per setting, as `guard_margin: 0.02 (policy: 0.01)`.

    What each setting must be to count as laxer stands beside it, in `GateConfig`.
    """
    return _weakened(policy, asked, "")


def _weakened(policy: BaseModel, asked: BaseModel, prefix: str) -> list[str]:
    found = []
    for name, field in type(policy).model_fields.items():
        before, now = getattr(policy, name), getattr(asked, name)
        rules = [rule for rule in field.metadata if isinstance(rule, Stricter)]
        if isinstance(before, BaseModel) and type(before) is type(now):
            found += _weakened(before, now, f"{prefix}{name}.")
        elif rules and _laxer(before, now, rules[0]):
            found.append(f"{prefix}{name}: {_shown(now)} (policy: {_shown(before)})")
    return found


def _laxer(before: Any, now: Any, rule: Stricter) -> bool:
    if before == now:
        return False
    if rule.when == "same":
        return True
    if rule.when == "more":
        return not set(before) <= set(now)
    if rule.order:
        before, now = rule.order.index(before), rule.order.index(now)
    if before is None or now is None:  # None sets no limit
        return now is None
    return bool(now < before if rule.when == "higher" else now > before)


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return str(value.model_dump())
    return ", ".join(value) if isinstance(value, tuple) else f"{value}"
