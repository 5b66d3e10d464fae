"""What the report says of a stage's probes follows from their figures."""

from __future__ import annotations

import pytest

from rere.reporting.carried_over import gains, gains_plot, remark

ERROR = 0.002
Z = 1.959964


def records(**gained: float) -> list[dict[str, float]]:
    """Probes that begin at .1 and end there plus a gain, each with the same standard error."""
    first = {"update": 0.0, **{f"{name}_ndcg@10": 0.1 for name in gained}}
    last = {"update": 50.0, "reward": 0.5, **{f"{name}_ndcg@10": 0.1 + gain for name, gain in gained.items()}}
    return [first, {"update": 49.0, "reward": 0.5}, last | {f"{name}_gain_error": ERROR for name in gained}]


@pytest.mark.parametrize(
    ("gained", "said"),
    [
        (
            {"seen": 0.02, "unseen": 0.0, "valid": 0.001},
            "RL learns rows by heart: those that it saw rise, others don't.",
        ),
        ({"seen": 0.02, "valid": 0.001}, "RL learns rows by heart: those that it saw rise, others don't."),
        ({"seen": 0.02, "unseen": 0.0, "valid": -0.01}, "RL learns rows by heart, and others fall."),
        ({"seen": 0.01, "unseen": 0.01, "valid": 0.01}, "RL learns carries over: validation rows rise."),
        ({"seen": 0.03, "unseen": 0.01, "valid": 0.01}, "validation rows rise, rows that it saw more than others."),
        ({"seen": 0.005, "unseen": 0.003, "valid": 0.003}, "whether validation rows do is too close to tell."),
        ({"seen": 0.0, "unseen": 0.0, "valid": 0.0}, "RL changes too little to tell"),
        ({"seen": -0.01, "unseen": 0.0, "valid": 0.0}, "RL loses even on rows that it saw."),
        ({"seen": 0.0, "unseen": 0.0, "valid": -0.01}, "RL makes the model worse."),
    ],
)
def test_the_sentence_says_what_the_figures_do(gained: dict[str, float], said: str) -> None:
    found = remark(records(**gained), "RL")
    assert found is not None
    assert said in found
    assert ("visits every training row" in found) == ("unseen" not in gained)
    for gain in gained.values():
        assert f"{gain:+.4f} ± {Z * ERROR:.4f}".replace("-", "−") in found
    assert gains_plot(records(**gained))


def test_without_rows_that_were_seen_nothing_is_said() -> None:
    assert gains(records(valid=0.1)) == {}
    assert remark(records(valid=0.1), "RL") is None
    assert gains_plot([{"update": 0.0}]) is None
