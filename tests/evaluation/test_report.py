"""The report: whole, self-contained, and safe to open whatever the titles are."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from rere.config.evaluation import EvaluationConfig
from rere.data.dataset import IngestReport
from rere.errors import RereError
from rere.evaluation.breakdown import breakdown, sparse_rows
from rere.evaluation.evaluator import summarise
from rere.evaluation.metrics import target_ranks
from rere.evaluation.power import Power
from rere.evaluation.verdict import Check, Verdict
from rere.recommenders.labels import Label
from rere.reporting.examples import TOP
from rere.reporting.report import EXAMPLES, ReportInputs, render_report
from rere.reporting.terminal import results_table

MODELS = {"popularity": 0.05, "SASRec": 0.2, "SFT": 0.3, "ReRe": 0.35}  # chance that the target is in a list
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x>',
    "{{ 7 * 7 }}",
    "</svg></table>",
    "A $x^2$ & B",
]
ITEMS, ROWS = 60, 40
CONFIG = EvaluationConfig(ks=(1, 5, 10), beams=10, bootstrap_samples=200)


def results_of(model: str, chance: float, rows: int = ROWS) -> pd.DataFrame:
    """Lists of distinct items; the target is put at a random place as often as `chance` says."""
    random = np.random.default_rng(sum(map(ord, model)))
    targets = np.arange(rows) % ITEMS
    items = np.stack([random.permutation(np.delete(np.arange(ITEMS), target))[: CONFIG.beams] for target in targets])
    for row in np.flatnonzero(random.random(rows) < chance):
        items[row, random.integers(CONFIG.beams)] = targets[row]
    return pd.DataFrame(
        {
            "row_id": np.arange(rows),
            "user_id": [f"u{row}" for row in range(rows)],
            "model": model,
            "target": targets,
            "warm": np.arange(rows) % 10 > 0,
            "rank": target_ranks(items, targets),
            "items": items.tolist(),
            "scores": np.sort(random.random(items.shape))[:, ::-1].tolist(),
            "invalid": 0,
            "duplicate": 0,
        }
    )


def curves() -> dict[str, list[dict[str, float]]]:
    sft = [{"update": n, ("valid_loss" if n % 5 == 0 else "train_loss"): 3 / n} for n in range(1, 21)]
    names = ("reward", "groups_with_hit", "kl", "diversity", "loss", "tokens_per_second")
    rl = [{"update": n, **dict.fromkeys(names, n / 100)} for n in range(1, 81)]
    return {"sft": sft, "rl": [{"update": 0, "valid_ndcg@10": 0.1}, *rl, {"update": 80, "valid_ndcg@10": 0.2}]}


HISTORIES = [[n % ITEMS for n in range(row, row + 1 + row % 13)] for row in range(ROWS)]
JUDGED = pd.DataFrame(
    {"row_id": np.arange(ROWS), "history": HISTORIES, "target": [str(n % ITEMS) for n in range(ROWS)]}
)
COUNTS = {str(item): item for item in range(ITEMS)}


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    results = pd.concat([results_of(model, chance) for model, chance in MODELS.items()], ignore_index=True)
    check = Check(name="better than popularity", value=0.1, threshold=0.0, passed=True, explanation="It is <b>so</b>.")
    return ReportInputs(
        results=results,
        subject=Label.RL,
        summary=summarise(results, CONFIG, np.arange(ITEMS), sparse_rows(JUDGED, COUNTS)),
        parts=breakdown(results, JUDGED, COUNTS, CONFIG),
        config=CONFIG,
        verdict=Verdict(passed=True, checks=(check,), power=Power("ndcg@10", 0.0041, -0.005, 0.95, 934)),
        curves=curves(),
        titles=[*HOSTILE, *(f"Title {n}" for n in range(len(HOSTILE), ITEMS))],
        histories=HISTORIES,
        ingest=IngestReport(
            source="<i>shop</i>",
            source_sha256={"a.csv": "ab" * 32},
            read={"interactions": 12345},
            dropped={"too short": 7},
            kept={"interactions": 12338, "items": ITEMS},
        ),
        lineage={"commit": None, "packages": {"torch": "2.13"}, "config": {"rl": {"rewards": [{"type": "rule"}]}}},
    )


@pytest.fixture(scope="module")
def page(inputs: ReportInputs) -> str:
    return render_report(inputs)


def test_every_model_is_told_by_history_and_by_item(page: str) -> None:
    [section] = re.findall(r"Where little is known(.*?)<h2>", page, re.DOTALL)
    tables = [
        [re.sub(r"<.*?>", " ", cell).split()[0] for cell in re.findall(r"<th[ >].*?</th>", table)]
        for table in re.findall(r"<table.*?</table>", section, re.DOTALL)
    ]
    assert [table[0] for table in tables] == ["model", "model"]
    assert [cell for cell in tables[0] if cell[0].isdigit()] == ["1-2", "3-4", "5-9", "10"]
    assert [cell for cell in tables[1] if cell[0].isdigit()] == ["0", "1-4", "5-19", "20-99"]
    for model in MODELS:
        assert section.count(str(model).split()[0]) >= 2


class Elements(HTMLParser):
    """Start tags with their attributes, and the tags left open at the end."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_the_gate_can_see_is_said_and_drawn(page: str) -> None:
    assert "a challenger exactly as good as the champion passes with 23% probability" in page
    assert "What the gate can see" in page


def test_what_belongs_to_the_verdict_is_said_beside_it(inputs: ReportInputs) -> None:
    page = render_report(dataclasses.replace(inputs, notes=("Warning: <b>EASE</b> ranks better.",)))
    assert page.index('mark warn">&lt;b&gt;EASE&lt;/b&gt; ranks better.') < page.index("Title ")


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    elements = Elements(page)
    assert not elements.open
    tags = {tag for tag, _ in elements.found}
    assert not tags & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "image",
        "i",
        "b-",
        "foreignobject",
    }
    places = [
        value or ""
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name.split(":")[-1] in ("href", "src", "srcset", "action", "data")
    ]
    assert places  # the plots' own markers
    assert all(place.startswith("#") for place in places)
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(['\"]?([^)]*)", page))


def test_ids_that_plots_refer_to_exist_once_or_alike(page: str) -> None:
    wanted = set(re.findall(r'<use href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert wanted
    for name in {first or second for first, second in wanted}:
        whole = rf'<clipPath id="{name}">.*?</clipPath>|<path id="{name}".*?/>'
        drawn = set(re.findall(whole, page, flags=re.DOTALL))
        assert len(drawn) == 1, name


def test_hostile_titles_are_text(page: str, inputs: ReportInputs) -> None:
    assert "<script" not in page
    assert "evil.example" in page  # as text: shown, never an attribute
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert "<i>shop</i>" not in page
    assert "It is <b>so</b>" not in page
    assert "A $x^2$ &amp; B" in page


def test_every_model_metric_and_plot_is_there(page: str, inputs: ReportInputs) -> None:
    assert page.count("<svg") == 2 + 1 + 1 + 5  # accuracy, the gate, SFT, RL
    for model in MODELS:
        assert f">{model}</span></th>" in page
    for word in ("HR@1", "NDCG@10", "(40)", "(36)", "12,345", "too short", "rl.rewards.0.type", "Warm rows"):
        assert word in page, word
    ours = inputs.summary.query("model == 'ReRe' and rows == 'all' and metric == 'ndcg@10'").iloc[0]
    assert f">{ours['mean']:.4f}<small>{ours['low']:.4f}–{ours['high']:.4f}</small>" in page
    gain = inputs.results.groupby("model")["rank"].apply(lambda ranks: ((ranks > 0) & (ranks <= 10)).mean())
    assert f"{gain['ReRe'] - gain['popularity']:+.4f}" in page


def test_a_person_sees_what_is_learned_by_heart(inputs: ReportInputs) -> None:
    """Probes on record add a plot, and a sentence before the plots."""
    first, *between, last = inputs.curves["rl"]
    start = {f"{name}_ndcg@10": 0.1 for name in ("seen", "unseen", "valid")}
    end = start | {"seen_ndcg@10": 0.13} | {f"{name}_gain_error": 0.002 for name in ("seen", "unseen", "valid")}
    page = render_report(dataclasses.replace(inputs, curves={"rl": [first | start, *between, last | end]}))
    assert page.count("<svg") == 2 + 1 + 6  # accuracy, the gate, RL
    assert page.index("RL learns rows by heart") < page.index("RL: what carries over")
    assert not Elements(page).open


def test_the_page_depends_on_its_inputs_only(page: str, inputs: ReportInputs) -> None:
    assert render_report(inputs) == page


def test_examples_show_hits_then_misses(page: str, inputs: ReportInputs) -> None:
    shown = [int(user) for user in re.findall(r"<b>User u(\d+)</b>", page)]
    ranks = inputs.results.query("model == 'ReRe'")["rank"].to_numpy()[shown]
    hits = (ranks > 0) & (ranks <= TOP)
    assert len(set(shown)) == EXAMPLES
    assert hits.tolist() == [True] * 4 + [False] * 4
    marked = page.count('<li class="target">')
    every = inputs.results[inputs.results["row_id"].isin(shown)]["rank"]
    assert marked == int(((every > 0) & (every <= TOP)).sum())


def test_without_verdict_curves_or_lineage(inputs: ReportInputs) -> None:
    bare = dataclasses.replace(inputs, verdict=None, curves={"sft": [], "rl": [{"update": 0}]}, lineage={})
    page = render_report(bare)
    assert "The gate was not asked" in page
    assert "No training curves were recorded" in page
    assert page.count("<svg") == 2
    assert not Elements(page).open


def test_one_model_few_rows_and_warm_only(inputs: ReportInputs) -> None:
    results = results_of("ReRe", 1.0, rows=3).assign(warm=True)
    small = dataclasses.replace(
        inputs,
        results=results,
        summary=summarise(results, CONFIG, np.arange(ITEMS)),
        parts=inputs.parts[inputs.parts["model"] == "ReRe"],
        histories=[[1], [2], [3]],
    )
    page = render_report(small)
    assert "no other model was judged" in page
    assert "Every target was seen in training" in page
    assert page.count("<b>User ") == 3


def test_an_unfinished_list_shows_what_it_has(inputs: ReportInputs) -> None:
    results = inputs.results.copy()
    results["items"] = [[*items[:2], *[-1] * 8] for items in results["items"]]
    page = render_report(dataclasses.replace(inputs, results=results))
    assert page.count("<li") == EXAMPLES * len(MODELS) * 2


@pytest.mark.parametrize("what", ["histories", "order"])
def test_rows_that_do_not_fit_are_refused(inputs: ReportInputs, what: str) -> None:
    if what == "histories":
        wrong = dataclasses.replace(inputs, histories=inputs.histories[1:])
    else:
        reversed_rows = pd.concat([inputs.results.iloc[:-ROWS], inputs.results.iloc[-ROWS:][::-1]])
        wrong = dataclasses.replace(inputs, results=reversed_rows)
    with pytest.raises(RereError):
        render_report(wrong)


def test_terminal_table(inputs: ReportInputs) -> None:
    table = results_table(inputs.summary, CONFIG)
    console = Console(width=200, force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    text = capture.get()
    assert [column.header for column in table.columns] == [
        "Model",
        "HR@1",
        "HR@5",
        "HR@10",
        "NDCG@1",
        "NDCG@5",
        "NDCG@10",
        "NDCG@10,\nusers with one or two items",
        "NDCG@10,\nitems never seen in training",
    ]
    assert [text.index(model) for model in MODELS] == sorted(text.index(model) for model in MODELS)
    best = inputs.summary.query("rows == 'all' and metric == 'hr@10'").sort_values("mean").iloc[-1]
    half = (best["high"] - best["low"]) / 2
    for part in (f"{best['mean']:.4f}", f"±{half:.4f}"):
        assert re.search(rf"\x1b\[1m *{part}", text), part
