"""Read settings from YAML; each mistake becomes one message that names the setting and suggests what was meant."""

from __future__ import annotations

import datetime
import difflib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from rere.config.variants import OneOf
from rere.errors import RereError

Model = TypeVar("Model", bound=BaseModel)
DOCUMENTATION = "docs/configuration.md lists the settings"
SHOWN = 60  # characters of a wrong value


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, of which PyYAML silently takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} a second time", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        RereError: no such file, not a file, not UTF-8, not YAML, or not a mapping with strings as keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RereError(f"UTF-8 text in {path}", f"byte {error.start} is not UTF-8", "save the file as UTF-8") from None
    except OSError as error:
        raise RereError(f"a readable file {path}", error.strerror or str(error), "correct the path") from None
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise RereError(f"YAML in {path}", _syntax(error, text), "correct it; configs/ has examples") from None
    except (RecursionError, ValueError, TypeError, OverflowError) as error:  # e.g. a date 2020-99-99, a list as a key
        raise RereError(
            f"YAML in {path}", f"what can't be read ({error})", "correct it; configs/ has examples"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RereError(f"a mapping in {path}", f"a {type(content).__name__}", "write `key: value` lines")
    if unnamed := [key for key in content if not isinstance(key, str)]:
        raise RereError(f"names as keys in {path}", repr(unnamed[0]), "correct it")
    return content


def validated(kind: type[Model], content: Any, where: str = "the settings") -> Model:
    """`content` as settings of a kind; RereError with all that is wrong."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise settings_error(error, kind, where) from None


def settings_error(error: ValidationError, kind: type[BaseModel], where: str = "the settings") -> RereError:
    """Pydantic's problems in one line, each with its setting and, if there is a similar name, a suggestion."""
    found = error.errors()
    inside = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
    # A list with an invalid member is also reported as too short: report only the member's problem.
    reported = [problem for problem in found if problem["type"] != "too_short" or problem["loc"] not in inside]
    problems = [_problem(dict(problem), kind) for problem in reported]
    return RereError(f"{where} as documented", "; ".join(problems), f"correct them; {DOCUMENTATION}")


def meant(word: object, known: Iterable[str]) -> str:
    """` (did you mean ...?)` if a known word is similar, else the known words."""
    words = sorted(known)
    near = difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    if near:
        return f" (did you mean `{near[0]}`?)"
    return f" (known: {', '.join(words)})" if words else ""


def _syntax(error: yaml.YAMLError, text: str) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    position = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "\t" in lines[mark.line]:
        return f"a tab{position}; YAML is indented by spaces"
    return f"{error.problem or error.context or 'no YAML'}{position}"


def _problem(problem: dict[str, Any], kind: type[BaseModel]) -> str:
    """The message for one of pydantic's problems."""
    path, given, known = problem["loc"], problem["input"], problem["type"]
    shown = repr(given) if len(repr(given)) <= SHOWN else repr(given)[:SHOWN] + "…"
    name = ".".join(map(str, path))
    if known == "extra_forbidden":
        inside = _at(kind, path[:-1])
        if inside and (now := getattr(inside, "renamed", {}).get(path[-1])):
            return f"{name}: is called `{now}` now"
        return f"{name}: no such setting{meant(path[-1], inside.model_fields) if inside else ''}"
    said = f"{name}: {problem['msg'].removeprefix('Value error, ')} (got {shown})"
    annotation = _annotation(kind, path)
    tags = _tags(annotation)
    if known == "union_tag_invalid":
        if _one_of(annotation) is not None:
            return f"{name}: no {problem['ctx']['tag']!r} there{meant(problem['ctx']['tag'], tags)}"
        return said + meant(problem["ctx"]["tag"], tags)
    if isinstance(given, str) and given in tags:
        return f"{name}: a mapping with `type`; write `{path[-1]}: {{type: {given}}}` (got {shown})"
    if known == "literal_error" and isinstance(given, str):
        return said + meant(given, _choices(_annotation(kind, path)))
    if isinstance(given, bool) and known in ("literal_error", "string_type"):
        return f"{said}; YAML reads on, off, yes and no as true and false: put it in quotes"
    if isinstance(given, datetime.date) and known == "string_type":
        return f"{said}; YAML reads this as a date: put it in quotes"
    return said


# ---------------------------------------------------------------- inspection of the settings' types


def _at(kind: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The settings model at a path, if there is exactly one."""
    found = [member for member in _members(_annotation(kind, path)) if _is_model(member)]
    return found[0] if len(found) == 1 else None


def _annotation(kind: type[BaseModel], path: tuple[Any, ...]) -> Any:
    """The type at a path of pydantic's `loc` (fields, keys, tags of unions, indices); None if unknown."""
    here: Any = kind
    for part in path:
        members = _members(here)
        if isinstance(part, int):
            here = next((get_args(member)[0] for member in members if get_origin(member) in (tuple, list)), None)
            continue
        several = len(members) > 1 or _one_of(here) is not None
        tagged = next((member for member in members if part in _tags(member)), None) if several else None
        field = next(
            (_declared(m.model_fields[part]) for m in members if _is_model(m) and part in m.model_fields), None
        )
        values = next((get_args(member)[1] for member in members if get_origin(member) is dict), None)
        here = tagged or field or values
    return here


def _declared(field: FieldInfo) -> Any:
    """A field's type, with the registry that lists its variants."""
    marks = [mark for mark in field.metadata if isinstance(mark, OneOf)]
    return Annotated[field.annotation, marks[0]] if marks else field.annotation


def _one_of(annotation: Any) -> OneOf | None:
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, OneOf)), None)


def _members(annotation: Any) -> list[Any]:
    """The types of a union, also within Annotated; a registry's variants."""
    origin = get_origin(annotation)
    if (variants := _one_of(annotation)) is not None:
        return list(variants.types().values())
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [one for member in get_args(annotation) for one in _members(member)]
    return [] if annotation is None else [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tags(annotation: Any) -> list[str]:
    """Values of `type` that distinguish a union's settings."""
    models = [member for member in _members(annotation) if _is_model(member)]
    return [
        tag
        for model in models
        if "type" in model.model_fields
        for tag in _choices(model.model_fields["type"].annotation)
    ]


def _choices(annotation: Any) -> list[str]:
    """The words that a Literal allows."""
    return [str(word) for member in _members(annotation) if get_origin(member) is Literal for word in get_args(member)]
