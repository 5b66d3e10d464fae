"""The field's usual way, written plainly: what the engine is measured against.

Stock `generate` asks a Python function for every beam at every step which tokens may follow; the prompt is
prefilled once a beam and the key/value cache copied at each step. RL then runs prompt + candidate once for
each of the G candidates, for the policy and again for the reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel


class PerBeamConstraint(LogitsProcessor):
    """Look up each beam's continuation in a dictionary of prefixes, beam by beam."""

    def __init__(self, items: Sequence[Sequence[int]], prompt_length: int, end: int) -> None:
        self.prompt_length, self.end = prompt_length, end
        self.allowed: dict[tuple[int, ...], set[int]] = {}
        for item in items:
            for n in range(len(item)):
                self.allowed.setdefault(tuple(item[:n]), set()).add(item[n])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        mask = torch.full_like(scores, -torch.inf)
        for beam, tokens in enumerate(input_ids[:, self.prompt_length :].tolist()):
            mask[beam, list(self.allowed.get(tuple(tokens), {self.end}))] = 0
        return scores + mask


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """input_ids and attention_mask (P, longest), as `generate` wants them."""
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@torch.no_grad()
def beam_search(
    model: PreTrainedModel | PeftModel,
    items: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]],
    beams: int,
    normalisation: str,
) -> tuple[list[list[tuple[int, ...]]], torch.Tensor]:
    """The beams (P, G token tuples) and scores (P, G) of stock `generate`."""
    end = items[0][-1]
    ids, mask = left_padded(prompts, end, model.device)
    out = model.generate(  # type: ignore[operator]
        ids,
        attention_mask=mask,
        num_beams=beams,
        num_return_sequences=beams,
        do_sample=False,
        length_penalty=0.0,
        max_new_tokens=max(map(len, items)),
        logits_processor=LogitsProcessorList([PerBeamConstraint(items, ids.shape[1], end)]),
        renormalize_logits=normalisation == "trie",
        eos_token_id=end,
        pad_token_id=end,
        return_dict_in_generate=True,
        output_scores=True,
    )
    sequences = [row[ids.shape[1] :] for row in out.sequences.tolist()]
    candidates = [tuple(row[: row.index(end) + 1]) if end in row else tuple(row) for row in sequences]
    groups = [candidates[n : n + beams] for n in range(0, len(candidates), beams)]
    return groups, out.sequences_scores.view(len(prompts), beams)


def candidate_log_probs(
    model: PreTrainedModel | PeftModel, prompt: Sequence[int], candidates: Sequence[Sequence[int]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(G, R) log-probabilities and mask of one prompt's candidates: G rows of prompt + candidate."""
    longest = max(map(len, candidates))
    completions = torch.tensor([list(c) + [pad] * (longest - len(c)) for c in candidates], device=model.device)
    present = torch.tensor([[1] * len(c) + [0] * (longest - len(c)) for c in candidates], device=model.device)
    prompts = torch.tensor([list(prompt)] * len(candidates), device=model.device)
    logits = model(
        input_ids=torch.cat([prompts, completions], 1),
        attention_mask=torch.cat([torch.ones_like(prompts), present], 1),
        logits_to_keep=longest + 1,
    ).logits[:, :-1]
    return torch.log_softmax(logits.float(), -1).gather(2, completions[:, :, None])[:, :, 0], present.bool()
