"""Register a ZenML stack from `infra/stacks/NAME.yaml` and activate it: `python -m infra.stack NAME`. Safe to repeat.

A definition names the stack's components, its settings (`${name}` in a configuration; `--set name=value` or a YAML file
by `--settings`) and the ZenML secrets that it refers to. What is secret stands in ZenML's secret store only.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from rere.errors import RereError

DEFINITIONS = Path(__file__).with_name("stacks")


@dataclass(frozen=True)
class Definition:
    """A stack with its settings filled in. `secrets`: the keys of each ZenML secret that it refers to."""

    name: str
    components: dict[str, dict[str, Any]]
    secrets: dict[str, list[str]]


def read(name: str, given: dict[str, str] | None = None) -> Definition:
    """The definition of that name.

    Raises:
        RereError: no such definition; a setting is unknown or has no value.
    """
    file, given = DEFINITIONS / f"{name}.yaml", given or {}
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in DEFINITIONS.glob("*.yaml")))
        raise RereError(f"a stack of infra/stacks: {known}", name, "choose one of them")
    raw: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings: dict[str, str | None] = raw.get("settings", {})
    if unknown := sorted(given.keys() - settings.keys()):
        raise RereError(f"settings of {name}: {', '.join(settings) or 'none'}", ", ".join(unknown), "remove them")
    values = settings | given
    if missing := [setting for setting, value in values.items() if not value]:
        raise RereError(f"values for {', '.join(missing)}", "none", "give them: --set name=value")
    return Definition(raw["name"], _fill(raw["components"], values), raw.get("secrets", {}))


def _fill(value: Any, settings: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(inner, settings) for key, inner in value.items()}
    return Template(value).substitute(settings) if isinstance(value, str) else value


def register(definition: Definition) -> None:
    """Make the components and the stack, or bring those of the same names up to date; then activate the stack.

    Raises:
        RereError: a secret or a key of it is missing.
    """
    from zenml.client import Client
    from zenml.enums import StackComponentType

    client = Client()
    for secret, keys in definition.secrets.items():
        _check_secret(client, secret, keys)
    components = {
        StackComponentType(kind): _component(client, StackComponentType(kind), definition.name, **described)
        for kind, described in definition.components.items()
    }
    if client.list_stacks(name=f"equals:{definition.name}").items:
        client.update_stack(definition.name, component_updates=components)
    else:
        client.create_stack(definition.name, components)
    client.activate_stack(definition.name)


def _component(
    client: Any, kind: Any, stack: str, flavor: str = "", name: str = "", *, configuration: dict[str, Any] | None = None
) -> Any:
    """The component's id. One without a flavour is there already; one without a name has the stack's."""
    name, configuration = name or stack, configuration or {}
    found = client.list_stack_components(type=kind, name=f"equals:{name}").items
    if not found:
        return client.create_stack_component(name, flavor, kind, configuration).id
    if flavor and found[0].flavor_name != flavor:
        raise RereError(f"the flavour {flavor} of the {kind.value} {name}", found[0].flavor_name, "delete or rename it")
    if configuration:
        client.update_stack_component(found[0].id, kind, configuration=configuration)
    return found[0].id


def _check_secret(client: Any, name: str, keys: list[str]) -> None:
    try:
        there = set(client.get_secret(name, allow_partial_name_match=False, allow_partial_id_match=False).values)
    except KeyError:
        there = set()
    if missing := [key for key in keys if key not in there]:
        command = f"zenml secret create {name} " + " ".join(f"--{key}=…" for key in keys)
        raise RereError(f"the ZenML secret {name} with {', '.join(keys)}", f"no {', '.join(missing)}", command)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of a definition in infra/stacks")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings")
    parser.add_argument("--settings", type=Path, help="YAML file with settings; --set wins")
    arguments = parser.parse_args()
    given = yaml.safe_load(arguments.settings.read_text(encoding="utf-8")) if arguments.settings else {}
    given |= dict(pair.split("=", 1) for pair in arguments.set)
    try:
        definition = read(arguments.name, given)
        register(definition)
    except RereError as error:
        sys.exit(str(error))
    print(f"The stack {definition.name} is registered and active.")


if __name__ == "__main__":
    main()
