"""Embeddings of tokens that each stand for a whole item (`code: item`).

    embedding of an item = mean of the embeddings of its title's tokens + its own vector

A model stores the sums as plain rows of its embedding, after the tokenizer's, so that it is an ordinary transformers
checkpoint and serving computes nothing extra. An item that the model wasn't trained on gets its title's mean alone.

In training an item's gradient reaches its title's tokens too, and through them every item that shares a word
(`train_by_titles`). A head that shares no weights with the embedding is treated in the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from rere.catalog.index import CatalogIndex
from rere.catalog.tokenization import BATCH_TITLES, spell
from rere.models.heads import embedding_weights

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class TitleMeans:
    """rows: (R,) the items' rows in the embedding; shares: (R, V) sparse, the share of each of the tokenizer's V tokens
    in an item's title."""

    rows: Int[Tensor, " R"]
    shares: Float[Tensor, "R V"]

    @classmethod
    def of(cls, catalog: CatalogIndex, chosen: Sequence[int], device: torch.device | str) -> TitleMeans:
        """The means for the items of these indices."""
        tokens = catalog.trie.item_tokens
        item, piece, weight = [], [], []
        for low in range(0, len(chosen), BATCH_TITLES):
            part = chosen[low : low + BATCH_TITLES]
            pieces = spell(catalog.tokenizer, [catalog.titles[one] for one in part])
            lengths = torch.tensor([len(own) for own in pieces])
            item.append(torch.repeat_interleave(torch.arange(low, low + len(part)), lengths))
            piece.append(torch.tensor([token for own in pieces for token in own]))
            weight.append(torch.repeat_interleave(1 / lengths, lengths))
        none = torch.empty(0)
        indices = torch.stack([torch.cat([none.long(), *item]), torch.cat([none.long(), *piece])])
        size = (len(chosen), len(catalog.tokenizer))
        shares = torch.sparse_coo_tensor(indices, torch.cat([none, *weight]), size, check_invariants=False).coalesce()
        return cls(tokens[list(chosen)].to(device), shares.to(device))

    def means(self, weight: Float[Tensor, "V width"]) -> Float[Tensor, "R width"]:
        """(R, width) mean of each title's rows of an embedding (V or more, width)."""
        return torch.sparse.mm(self.shares.to(weight.dtype), weight[: self.shares.shape[1]])


@torch.no_grad()
def embed_items(model: PreTrainedModel, catalog: CatalogIndex, first: int) -> None:
    """Resize the embedding to the catalogue's tokens, and set the rows of items from token `first` on to their titles'
    means. Does nothing if items have no tokens of their own.

    A forward that runs on another thread is not disturbed: the tensors that it uses stay as they are.
    """
    if not catalog.config.code.one_token:
        return
    later = (catalog.trie.item_tokens >= first).nonzero()[:, 0].tolist()
    _set_to_titles(model, catalog, later)


@torch.no_grad()
def embed_by_titles(model: PreTrainedModel, catalog: CatalogIndex, items: Sequence[int]) -> None:
    """Set the rows of these items to their titles' means, without vectors of their own, as those of items that the
    model wasn't trained on. Does nothing if items have no tokens of their own.

    In training an item that nobody takes is only ever a wrong answer, and its own vector learns nothing but that.
    """
    if catalog.config.code.one_token:
        _set_to_titles(model, catalog, items)


def sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose tensors are the model's own: `embed_by_titles` gives the copy another embedding, and it alone."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _set_to_titles(model: PreTrainedModel, catalog: CatalogIndex, items: Sequence[int]) -> None:
    means = TitleMeans.of(catalog, items, next(cast(nn.Module, model).parameters()).device)
    for old in embedding_weights(model):
        kept = min(catalog.vocabulary, len(old))
        weight = torch.cat([old[:kept], old.new_zeros((catalog.vocabulary - kept, old.shape[1]))])
        weight[means.rows] = means.means(weight)
        new = nn.Parameter(weight, requires_grad=old.requires_grad)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer.weight is old:  # both if they are tied
                _replace(layer, new)
    for config in (model.config, model.config.get_text_config()):
        config.vocab_size = catalog.vocabulary


def embedding_rows(model: PreTrainedModel) -> int:
    """The number of tokens in the model's embedding."""
    return len(cast(torch.Tensor, model.get_input_embeddings().weight))


def train_by_titles(
    model: PreTrainedModel | PeftModel, catalog: CatalogIndex, optimiser: torch.optim.Optimizer
) -> None:
    """Let `optimiser` train title tokens and the items' own vectors instead of the items' rows.

    A row's gradient goes to its own vector and, by their shares, to its title's tokens. Each step splits the rows into
    the two and adds them up again, so the model and its checkpoints always have plain rows. Does nothing if items have
    no tokens of their own, or if the embedding isn't trained.
    """
    if not catalog.config.code.one_token:
        return
    base = cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)
    weights = [weight for weight in embedding_weights(base) if weight.requires_grad]
    if not weights:
        return
    means = TitleMeans.of(catalog, range(len(catalog.items)), weights[0].device)
    back = means.shares.T.coalesce()
    pieces = means.shares.shape[1]

    def shared(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        gradient[:pieces] += torch.sparse.mm(back.to(gradient.dtype), gradient[means.rows])
        return gradient

    @torch.no_grad()
    def add_means(sign: int) -> None:
        for weight in weights:
            weight.index_add_(0, means.rows, means.means(weight), alpha=sign)

    for weight in weights:
        weight.register_hook(shared)
    optimiser.register_step_pre_hook(lambda *_: add_means(-1))
    optimiser.register_step_post_hook(lambda *_: add_means(1))


def _replace(layer: Any, weight: nn.Parameter) -> None:
    bias = getattr(layer, "bias", None)
    if bias is not None and len(bias) != len(weight):
        kept = bias.detach()[: len(weight)]
        layer.bias = nn.Parameter(torch.cat([kept, kept.new_zeros(len(weight) - len(kept))]))
    layer.weight = weight
    if isinstance(layer, nn.Embedding):
        layer.num_embeddings = len(weight)
    elif isinstance(layer, nn.Linear):
        layer.out_features = len(weight)
