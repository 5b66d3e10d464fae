"""What is known of items before a user's history is read: it is registered and served beside a generative model.

Items without training interactions, those that are added while serving among them, have a share of their own: as much
of the others' average probability as `new_item_exposure` says.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from rere.artifacts.manifest import fingerprint, seal, verify
from rere.config.served_model import ServedModelConfig
from rere.errors import RereError

RECORD, COUNTS = "prior.json", "counts.safetensors"


@dataclass(frozen=True)
class Prior:
    """counts: (I,) int64 training interactions per item of the catalogue."""

    counts: np.ndarray
    config: ServedModelConfig

    def require_fits(self, items: int) -> None:
        """RereError unless it is of a catalogue of so many items."""
        if len(self.counts) != items:
            raise RereError(
                f"a prior of the catalogue's {items} items", f"one of {len(self.counts)}", "register the model anew"
            )

    def popularity(self, items: int) -> torch.Tensor:
        """(items,) float64 log-probabilities (nats) of a catalogue that may have grown since."""
        return self._exposed(torch.from_numpy(self.counts).double().log()[None], items)[0]

    def _exposed(self, log_probs: torch.Tensor, items: int) -> torch.Tensor:
        """(P, I) -> (P, items) normalised log-probabilities, in which new items have their exposure."""
        known = torch.zeros(items, dtype=torch.bool)
        known[: len(self.counts)] = torch.from_numpy(self.counts > 0)
        if not known.any():
            return torch.full((len(log_probs), items), -np.log(items), dtype=torch.float64)
        found = log_probs.new_empty((len(log_probs), items))
        old = log_probs[:, known[: len(self.counts)]].double()
        found[:, known] = old
        average = old.logsumexp(1, keepdim=True) - np.log(int(known.sum()))
        found[:, ~known] = average + np.log(self.config.new_item_exposure)
        return found.log_softmax(1)

    def content(self) -> str:
        """A digest of its files."""
        with tempfile.TemporaryDirectory() as scratch:
            self.save(Path(scratch))
            return fingerprint(verify(Path(scratch)))

    def save(self, directory: Path) -> None:
        """Counts as safetensors, settings as JSON; sealed."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file({"counts": torch.from_numpy(self.counts.astype(np.int64))}, directory / COUNTS)
        record = {"config": self.config.model_dump(mode="json")}
        (directory / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        seal(directory)

    @classmethod
    def load(cls, directory: Path) -> Prior:
        """Read what `save` wrote; raises RereError when half-written or altered."""
        verify(directory)
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        counts = load_file(directory / COUNTS)["counts"].numpy()
        return cls(counts, ServedModelConfig.model_validate(record["config"]))
