"""Messages to people when a run fails or ends, through the alerter of the active stack, where it has one.

ZenML calls these as hooks, in the process of the step. An alerter that fails ends no run: ZenML logs what it said.
"""

from __future__ import annotations

from zenml import get_step_context
from zenml.client import Client

from ops.registry.stages import Promoted
from rere.errors import RereError
from rere.evaluation.better_rival import WARNING

LONGEST = 1_500  # characters of an error in a message


def tell_failure(exception: BaseException) -> None:
    """Which step of which run failed, why, and how to go on."""
    context = get_step_context()
    post(failure_message(context.pipeline.name, context.pipeline_run.name, context.step_run.name, exception))


def tell_outcome() -> None:
    """The decision, once the last step has ended well."""
    context = get_step_context()
    [promotion] = context.inputs["promotion"]
    if Client().active_stack.alerter is not None:
        post(outcome_message(context.pipeline.name, context.pipeline_run.name, promotion.load()))


def post(message: str) -> None:
    """Hand a message to the active stack's alerter; nobody is told where the stack has none."""
    alerter = Client().active_stack.alerter
    if alerter is not None and not alerter.post(message):
        raise RereError("an alerter that takes messages", f"a refusal of {alerter.name}", "read what it logged above")


def failure_message(pipeline: str, run: str, step: str, exception: BaseException) -> str:
    """In words. Parameters stay out of it: a message leaves the house."""
    if isinstance(exception, KeyboardInterrupt):
        return f"{pipeline} was stopped at `{step}` (run {run}). The same command goes on from there."
    said = str(exception) if isinstance(exception, RereError) else f"{type(exception).__name__}: {exception}"
    return (
        f"{pipeline} failed at `{step}` (run {run}).\n{said[:LONGEST]}\n"
        "The same command goes on from there: finished steps come from the cache."
    )


def outcome_message(pipeline: str, run: str, promotion: Promoted) -> str:
    """What was decided about which version, and the command for who decides next."""
    name, version = promotion.model, promotion.version
    failed = ", ".join(check.name for check in promotion.verdict.checks if not check.passed)
    lines = [
        f"{pipeline} ended (run {run}): {name} version {version}, {promotion.metric} {promotion.value:.4f}.",
        f"Gate: did not pass ({failed})." if failed else "Gate: passed.",
    ]
    if "champion" in promotion.aliases:
        lines.append("It is the champion now." if not promotion.is_champion else "It was the champion already.")
    elif promotion.waits:
        lines.append(f"Not champion: {promotion.waits}.")
    lines += [note for note in promotion.notes if note.startswith(WARNING)]
    return "\n".join([*lines, f"Review: rere review {version} --model {name} --open"])
