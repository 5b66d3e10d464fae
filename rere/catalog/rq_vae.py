"""Codewords by a residual-quantised autoencoder (RQ-VAE, as TIGER has it, arXiv 2305.05065).

An encoder maps item vectors to a narrow space, in which each level quantises what the levels before have left over; a
decoder maps the sum of the codewords back. Training runs on the CPU and has its own random state, so the codes depend
on the vectors, the settings and the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from rere.catalog.residual_kmeans import residual_kmeans
from rere.config.catalog import RQVAE

BATCH = 1024
STARTING_VECTORS = 20_000  # of which the first codebooks are made, at most
MOVED_EVERY = 50  # updates: then codewords that no item had since are moved
SETTLED = 0.75  # of the updates, after which none is moved any more


def rq_vae(vectors: np.ndarray, levels: int, codewords: int, config: RQVAE, seed: int) -> np.ndarray:
    """(I, levels) int64 codewords below `codewords` of (I, D) vectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        data = torch.from_numpy(np.asarray(vectors, dtype=np.float32)) * vectors.shape[1] ** 0.5  # entries of about 1
        net = _Autoencoder(data, levels, codewords, config, seed)
        optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate)
        used = [torch.zeros(len(book), dtype=torch.bool) for book in net.books]
        for update, rows in enumerate(_batches(len(data), config.updates), 1):
            loss, codes, left = net(data[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for level, mark in enumerate(used):
                mark[codes[:, level]] = True
            if update % MOVED_EVERY == 0 and update < SETTLED * config.updates:
                net.move_unused(used, left)
        with torch.no_grad():
            found: np.ndarray = torch.cat([net.quantise(net.encoder(part))[0] for part in data.split(BATCH)]).numpy()
        return found


def _batches(items: int, updates: int) -> Iterator[torch.Tensor]:
    """Rows of each update: all items in turn, in another order each time."""
    while True:
        for rows in torch.randperm(items).split(BATCH):
            if not updates:
                return
            updates -= 1
            yield rows


class _Autoencoder(nn.Module):
    """`books`: each level's codewords, (C, width), which begin as the residual k-means centroids of the latents."""

    def __init__(self, data: torch.Tensor, levels: int, codewords: int, config: RQVAE, seed: int) -> None:
        super().__init__()
        own = data.shape[1]
        self.commitment = config.commitment
        self.encoder = nn.Sequential(nn.Linear(own, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.width))
        self.decoder = nn.Sequential(nn.Linear(config.width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, own))
        with torch.no_grad():
            latents = self.encoder(data[torch.randperm(len(data))[:STARTING_VECTORS]]).numpy()
        _, books = residual_kmeans(latents, levels, codewords, seed)
        self.books = nn.ParameterList(torch.from_numpy(book.astype(np.float32)) for book in books)

    def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """The loss, and what `quantise` gives: the codes, and before each level what was left over."""
        latents = self.encoder(vectors)
        codes, left = self.quantise(latents)
        loss, total = torch.zeros(()), torch.zeros_like(latents)
        for level, book in enumerate(self.books):
            chosen = book[codes[:, level]]
            # Codewords move to what they stand for, and latents to their codewords.
            loss = loss + mse_loss(chosen, left[level]) + self.commitment * mse_loss(latents - total, chosen.detach())
            total = total + chosen.detach()
        straight = latents + (total - latents).detach()  # the gradient passes the quantisation by
        return loss + mse_loss(self.decoder(straight), vectors), codes, left

    @torch.no_grad()
    def quantise(self, latents: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(N, levels) nearest codewords, and (N, width) what was left over before each level."""
        rest, codes, left = latents, [], []
        for book in self.books:
            left.append(rest)
            codes.append(torch.cdist(rest, book).argmin(1))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, 1), left

    @torch.no_grad()
    def move_unused(self, used: list[torch.Tensor], left: list[torch.Tensor]) -> None:
        """Put codewords that aren't marked as used where items of the last batch are, and clear the marks."""
        for book, mark, rest in zip(self.books, used, left, strict=True):
            unused = (~mark).nonzero()[:, 0]
            book[unused] = rest[torch.randint(len(rest), (len(unused),))]
            mark.fill_(False)
