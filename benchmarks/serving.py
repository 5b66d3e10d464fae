"""The service under load, against the same model served one request at a time by stock `generate`.

    python -m benchmarks.serving [--quick] [--backbone nano|smollm2] [--registered NAME] [--sizes] [--json PATH]

Every way answers over the same HTTP code, in a process of its own; clients ask again as soon as they are answered. The
processes are all up all the time and loaded in turn, round after round.
`usual` is `generate` with a prefix constraint and a dictionary of prefixes made once. The floor is one bare forward
of the tokens that an exact search for one request must run. nano is tuned for one epoch first;
--registered NAME serves the champion of a model in the MLflow registry instead. --sizes: cost by the catalogue's size.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import LogitsProcessorList

from benchmarks.common import NANO, SIZED, arguments, held_mib, prepare, save, show, subject, synchronised
from benchmarks.decoding import bare_forward
from benchmarks.load import run_load
from benchmarks.usual import PerBeamConstraint
from rere.catalog.codes.prefix import PrefixCode
from rere.catalog.index import CatalogIndex, build_index
from rere.catalog.tokenization import end_token
from rere.config.catalog import IndexConfig
from rere.config.data import SplitConfig
from rere.config.decoding import SearchSettings
from rere.config.ingest import IngestConfig
from rere.config.sft import SFTConfig
from rere.data.ingest import ingest
from rere.data.windows import make_windows
from rere.decoding.beam import beam_search
from rere.models.backbone import load_model
from rere.models.checkpoint import Checkpoint
from rere.models.tree_attention import TreeModel
from rere.serving.config import ServingConfig
from rere.serving.engine.deployment import Query, Ranked
from rere.serving.engine.generative import GenerativeDeployment
from rere.serving.engine.service import RecommendationService
from rere.serving.http.app import create_app
from rere.serving.http.server import make_server
from rere.serving.live_catalog import CatalogEdits
from rere.training.sft.train import train_sft

HISTORY, K, BEAMS = 10, 10, 20
WARM_UPS = 3
SLOW_MS = 1_000.0
USERS = 20_000  # more than are served: nobody comes twice


class StockDeployment(GenerativeDeployment):
    """The usual way: one request after another through `generate`."""

    @torch.no_grad()
    def rank(self, queries: Sequence[Query], unwanted: Callable[[], bool] = lambda: False) -> list[Ranked]:
        return [self._one(query) for query in queries]

    def _prompt(self, query: Query) -> torch.Tensor:
        return torch.tensor([self.snapshot.prompt(query.history)], device=self.model.device)

    def _one(self, query: Query) -> Ranked:
        snapshot = self.snapshot
        end, prompt = end_token(snapshot.catalog.tokenizer), self._prompt(query)
        if not hasattr(self, "constraint"):
            self.constraint = EndsForFree(snapshot.catalog.item_tokens, 0, end)
            self.item_of = {tuple(tokens): item for item, tokens in enumerate(snapshot.catalog.item_tokens)}
        self.constraint.prompt_length = prompt.shape[1]
        out = self.model.model.generate(  # type: ignore[operator]
            prompt,
            attention_mask=torch.ones_like(prompt),
            num_beams=self.width(query),
            num_return_sequences=query.k,
            do_sample=False,
            length_penalty=0.0,
            max_new_tokens=snapshot.trie.max_length + 1,
            logits_processor=LogitsProcessorList([self.constraint]),
            eos_token_id=end,
            pad_token_id=end,
            return_dict_in_generate=True,
            output_scores=True,
        )
        written = [row[prompt.shape[1] :] for row in out.sequences.tolist()]
        tokens = [tuple(row[: row.index(end) + 1] if end in row else row) for row in written]
        items = [self.item_of[own] if own in self.item_of else self.item_of[own[:-1]] for own in tokens]
        return Ranked(items, out.sequences_scores.tolist(), snapshot)


class EndsForFree(PerBeamConstraint):
    """After a code that has no end token of its own, the end is certain: the item's score stays that of its code."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        masked = super().__call__(input_ids, scores)
        for beam, tokens in enumerate(input_ids[:, self.prompt_length :].tolist()):
            if tuple(tokens) not in self.allowed:
                masked[beam, self.end] = 0
        return masked


def deployment(
    options: argparse.Namespace, kind: type[GenerativeDeployment] = GenerativeDeployment
) -> GenerativeDeployment:
    """The model that is measured."""
    config = ServingConfig()
    if options.registered:
        from ops.registry.alias import AliasSource

        real = AliasSource(options.registered, "champion", config).first()
        if not isinstance(real, GenerativeDeployment):
            raise SystemExit(f"{options.registered}'s champion is an item model; this measures language models.")
        search = config.search(real.search.beams, "vocab")
        return kind(real.version, real.model, real.snapshot.catalog, real.history_items, search)
    if options.backbone != "nano" or options.untrained:
        model, catalog = subject(options.backbone, options.dtype)
    else:
        catalog = build_index(ingest(IngestConfig()).items, IndexConfig(backbone=NANO, code=PrefixCode()))
        model = TreeModel(tuned(catalog).load_model())
    return kind("1", model, catalog, HISTORY, config.search(BEAMS, "vocab"))


def tuned(catalog: CatalogIndex) -> Checkpoint:
    """nano after one epoch of SFT on MovieLens-100K; trained at first use (about a minute), found later."""
    work = Path(".rere") / "benchmarks" / "nano"
    rows = make_windows(ingest(IngestConfig()), SplitConfig())
    return train_sft(
        rows,
        catalog,
        catalog.config.backbone,
        SFTConfig(distillation=None, normalisation="vocab", epochs=1),
        work,
        log=lambda *_: None,
    )


def serve(options: argparse.Namespace) -> None:
    """What the process of a way does: print the port, answer until ended."""
    kind = StockDeployment if options.serve == "usual" else GenerativeDeployment
    config = ServingConfig(
        deadline_seconds=600,
        batch_requests=1 if options.serve == "usual" else 64,
        cached_answers=ServingConfig().cached_answers if options.serve == "kept" else 0,
    )
    service = RecommendationService(deployment(options, kind), config)
    server = make_server(create_app(service, config), config, "127.0.0.1", 0)
    startup = server.startup

    async def announced(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)

    server.startup = announced  # type: ignore[method-assign]
    server.run()


@contextmanager
def serving(way: str, options: argparse.Namespace) -> Iterator[int]:
    """The port of a process that serves one way."""
    command = [sys.executable, "-m", "benchmarks.serving", "--serve", way, "--backbone", options.backbone]
    command += [
        "--threads",
        str(options.threads),
        *(["--registered", options.registered] if options.registered else []),
        *(["--untrained"] if options.untrained else []),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def bodies(ids: list[str], users: int, seed: int) -> list[dict[str, object]]:
    """Requests of so many users, each with ten random items."""
    generator = random.Random(seed)
    return [{"history": generator.sample(ids, HISTORY), "k": K} for _ in range(users)]


def floor_ms(subject: GenerativeDeployment, requests: list[dict[str, Any]]) -> float:
    """Median milliseconds of the bare forward for one request."""
    seconds = []
    for body in requests:
        prompt = subject.snapshot.prompt([subject.snapshot.lookup.index_of(item) or 0 for item in body["history"]])
        settings = SearchSettings(beams=subject.search.beams)
        required = beam_search(subject.model, subject.snapshot.trie, [prompt], settings).required
        heads = 1 + required - len(prompt)
        seconds.append(synchronised(lambda: bare_forward(subject.model, 1, required, heads)))  # noqa: B023
    return 1000 * statistics.median(seconds[WARM_UPS:])


def agree(subject: GenerativeDeployment, requests: list[dict[str, Any]]) -> float:
    """Share of requests for which both ways give the same list."""
    settings = SearchSettings(beams=subject.search.beams)
    stock = StockDeployment("1", subject.model, subject.snapshot.catalog, HISTORY, settings)
    same = 0
    for body in requests:
        history = tuple(subject.snapshot.lookup.index_of(item) or 0 for item in body["history"])
        lists = [way.rank([Query(history, K)]) for way in (subject, stock)]
        same += lists[0] is not None and lists[1] is not None and lists[0][0].items == lists[1][0].items
    return same / len(requests)


def under_load(options: argparse.Namespace) -> dict[str, Any]:
    """Every way in turn, several rounds, all processes up all the time; medians over the rounds."""
    seconds, least = (3.0, 5) if options.quick else (5.0, 20)
    served = deployment(options)
    requests = bodies(served.snapshot.ids, 50, options.seed)
    figures: dict[str, Any] = {"same_lists": agree(served, requests[:40]), "rounds": options.repeats}
    ways = {"usual": ("usual", USERS), "ours": ("ours", USERS), "ours, 200 users who come back": ("kept", 200)}
    rounds: dict[str, list[dict[str, float]]] = {}
    floors = []
    with ExitStack() as processes:
        ports = {name: processes.enter_context(serving(way, options)) for name, (way, _) in ways.items()}
        for turn in range(options.repeats):
            floors.append(floor_ms(served, requests))
            for clients in (1, 64) if options.quick else (1, 8, 64):
                for name, (_, users) in ways.items():
                    if name == "usual" and clients > 1 and rounds["usual, 1"][0]["p50_ms"] > SLOW_MS:
                        continue  # one at a time: the rate is the same, and a round of 64 takes minutes
                    seed = options.seed + clients + (1_000 * turn if users == USERS else 0)  # new users stay new
                    own = bodies(served.snapshot.ids, users, seed)
                    load = run_load(ports[name], own, clients, seconds, least).figures()
                    rounds.setdefault(f"{name}, {clients}", []).append(load)
    figures["floor_ms"] = statistics.median(floors)
    figures["p50_to_floor"] = statistics.median(
        load["p50_ms"] / floor for load, floor in zip(rounds["ours, 1"], floors, strict=True)
    )
    rows = []
    for key, loads in rounds.items():
        base = rounds.get(f"usual, {key.split(', ')[-1]}", rounds["usual, 1"])
        load = {name: statistics.median(each[name] for each in loads) for name in ("per_second", "p50_ms", "p99_ms")}
        load["failed"] = sum(each["failed"] for each in loads)
        load["throughput"] = statistics.median(
            own["per_second"] / other["per_second"] for own, other in zip(loads, base, strict=True)
        )
        figures[key] = load
        rows.append([key, *(load[name] for name in ("per_second", "p50_ms", "p99_ms")), f"{load['throughput']:.1f}x"])
    show(
        f"{options.registered or options.backbone}, k = {K}, {options.threads} threads, {options.repeats} rounds; the "
        f"bare forward for one request takes {figures['floor_ms']:.1f} ms (p50 at 1 client is "
        f"{figures['p50_to_floor']:.2f} of it); same lists: {figures['same_lists']:.0%}",
        ["way, clients", "answers/s", "p50 ms", "p99 ms", "throughput"],
        rows,
    )
    return figures


def by_size(options: argparse.Namespace) -> list[dict[str, float]]:
    """Cost of a request and of changes, by the catalogue's size; synthetic titles, nano."""
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "l", "n", "r", "s")]
    figures, rows = [], []
    for size in (1_000, 10_000) if options.quick else (1_000, 10_000, 100_000, 1_000_000):
        generator = random.Random(options.seed)
        titles = [f"{' '.join(generator.choices(words, k=3))} {n}" for n in range(size)]
        before = held_mib()
        items = pd.DataFrame({"item_id": [str(n) for n in range(size)], "title": titles})
        started = time.perf_counter()
        catalog = build_index(items, IndexConfig(backbone=NANO, code=PrefixCode()))
        record: dict[str, float] = {"items": size, "index_seconds": time.perf_counter() - started}
        model = TreeModel(load_model(NANO, len(catalog.tokenizer), seed=0).eval())
        search = SearchSettings(beams=BEAMS, lookahead_tokens=ServingConfig().lookahead_tokens)
        own = GenerativeDeployment("1", model, catalog, HISTORY, search)
        record["held_mib"] = torch.cuda.memory_allocated() / 2**20 if torch.cuda.is_available() else held_mib() - before

        def query(seed: int, size: int = size) -> Query:
            history = tuple(random.Random(seed).choices(range(size), k=HISTORY))
            return Query(history, K, frozenset(history))

        def timed(work: Callable[[], Any], repeats: int = 7) -> float:
            runs = []
            for _ in range(repeats):
                started = time.perf_counter()
                work()
                runs.append(1000 * (time.perf_counter() - started))
            return statistics.median(runs)

        snapshot = own.snapshot
        record["one_ms"] = timed(lambda: own.rank([query(0)]))  # noqa: B023
        record["of_64_ms"] = timed(lambda: own.rank([query(n) for n in range(64)])) / 64  # noqa: B023
        record["remove_ms"] = timed(lambda: CatalogEdits({}, frozenset({"5"})).apply(snapshot))  # noqa: B023
        record["add_ms"] = timed(lambda: CatalogEdits({"new": "brand new"}).apply(snapshot), 1)  # noqa: B023
        record["find_ms"] = timed(lambda: list(zip(range(10), snapshot.search.find("ban"), strict=False)))  # noqa: B023
        figures.append(record)
        rows.append([f"{size:,}", *list(record.values())[1:]])
    show(
        "nano by catalogue size; milliseconds but for the first columns",
        ["items", "index s", "held MiB", "one request", "one of 64", "remove 1", "add 1", "find"],
        rows,
    )
    return figures


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=("nano", "smollm2", *SIZED), default="nano")
    parser.add_argument("--untrained", action="store_true", help="nano with random weights: lists mean nothing")
    parser.add_argument("--registered", help="serve the champion of this registered model")
    parser.add_argument("--sizes", action="store_true", help="cost by the catalogue's size instead")
    parser.add_argument("--serve", choices=("ours", "usual", "kept"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare(options)
    if options.serve:
        serve(options)
    else:
        save(options.json, {"sizes": by_size(options)} if options.sizes else under_load(options))


if __name__ == "__main__":
    main()
