"""Every code block of README and documentation is run or checked; a mark with a reason is the only way out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.batch import batch_pipeline
from pipelines.checked import parameters_model, settings_of
from pipelines.rere import rere_pipeline
from pipelines.retrain import retrain_pipeline
from pipelines.tune import tune_pipeline
from rere.config.reading import validated
from rere.data.sources.tables import Tables
from rere.errors import RereError
from rere.serving.config import ServingConfig
from rere.training.rl.rewards.custom import trial_group
from tests.docs.blocks import ROOT, Block, all_blocks, blocks_of, commands, inline_commands
from tests.docs.shell import problems

UNCHECKED = 0  # blocks that say why they can't be checked
BLOCKS = all_blocks()
CHECKED = ("python", "yaml", "bash", "bibtex", "diff", "")  # diff: test_contributing.py


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and not block.unchecked]


def test_no_block_escapes() -> None:
    assert {str(block): block.language for block in BLOCKS if block.language not in CHECKED} == {}
    assert len([block for block in BLOCKS if block.unchecked]) == UNCHECKED
    assert min(len(of(language)) for language in CHECKED) > 0
    code = re.compile(
        r"^(\$ |(make|rere|zenml|mlflow|python|pip|curl|docker|helm|kubectl|source|import|from) |\w+:( |$))", re.M
    )
    assert [str(block) for block in of("") if code.search(block.text)] == []  # pictures and output only


def test_blocks_are_found(tmp_path: Path) -> None:
    text = "a\n\n```bash\nmake x\n```\n- b\n\n  ```\n  picture\n  ```\n<!-- unchecked: why -->\n```yaml\na: 1\n```\n"
    found = [(one.line, one.language, one.text, one.unchecked) for one in blocks_of(tmp_path, text)]
    assert found == [(3, "bash", "make x\n", ""), (8, "", "picture\n", ""), (12, "yaml", "a: 1\n", "why")]
    with pytest.raises(ValueError, match="nothing closes"):
        list(blocks_of(tmp_path, "```bash\nmake x\n"))


# ---------------------------------------------------------------- python


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F", "-"]
    done = subprocess.run(ruff, input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # names that functions use, too
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(block.text, str(block), "exec"), names)
    if block.text.startswith("def novelty(group)"):
        assert names["novelty"](trial_group()).shape == (2, 4)


# ---------------------------------------------------------------- yaml


def variants(text: str) -> list[str]:
    """A block as it stands, and with each alternative that it has as a comment in place of the line with that key."""
    found, lines = [text], text.splitlines()
    for number, line in enumerate(lines):
        if alternative := re.match(r"^ *# (\w+)(: \{.*)$", line):
            key = alternative[1]
            used = [n for n, other in enumerate(lines) if re.match(rf"^ *{key}:", other)]
            assert used, f"{key} is no alternative to anything"
            at = max((n for n in used if n < number), default=used[0])
            indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
            found.append("\n".join([*lines[:at], indent + key + alternative[2], *lines[at + 1 :]]))
    return found


def check_settings(text: str, directory: Path) -> None:
    """As a run configuration, or as the part of one that its keys say it is."""
    content = yaml.safe_load(text)
    pipelines = (rere_pipeline, retrain_pipeline, tune_pipeline, batch_pipeline)
    known = {pipeline: parameters_model(pipeline).model_fields for pipeline in pipelines}
    keys = content.get("parameters", content).keys()
    for pipeline in pipelines:
        if keys <= known[pipeline].keys():
            content = content if "parameters" in content else {"parameters": content}
            (directory / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
            settings_of(pipeline, directory / "run.yaml")
            return
    for kind, fixed in ((Tables, {"type": "tables"}), (ServingConfig, {})):
        if content.keys() <= kind.model_fields.keys():
            validated(kind, fixed | content)
            return
    settings_of_some = " or ".join(pipeline.name for pipeline in pipelines)
    raise AssertionError(f"{sorted(keys)} are no settings of {settings_of_some}, of tables or of the service")


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_settings_are_valid(block: Block, tmp_path: Path) -> None:
    for text in variants(block.text):
        check_settings(text, tmp_path)


def test_wrong_settings_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(RereError, match="epoch"):
        check_settings("sft: {epoch: 3}", tmp_path)
    text = "parameters:\n  catalog:\n    backbone: {type: gguf}\n    # backbone: {type: gguff}\n"
    with pytest.raises(RereError, match="gguff"):
        check_settings(variants(text)[1], tmp_path)
    with pytest.raises(AssertionError, match="no settings"):
        check_settings("sftt: {epochs: 3}", tmp_path)


# ---------------------------------------------------------------- shell


@pytest.mark.parametrize("block", of("bash"), ids=str)
def test_commands_exist(block: Block) -> None:
    page = block.page.read_text(encoding="utf-8")
    assert [problem for words in commands(block.text) for problem in problems(words, page)] == []


def test_commands_in_sentences_exist() -> None:
    found = {f"{where}: {' '.join(words)}": problems(words, "") for where, words in inline_commands()}
    known = {"no file my.yaml", "no file configs/NAME.yaml", "no file configs/shop.yaml"}
    assert {where: wrong for where, wrong in found.items() if set(wrong) - known} == {}


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("make demoo", "no target demoo"),
        ("make image TORHC=cuda", "no variable TORHC"),
        ("rere chekc", "no command chekc"),
        ("rere check --conf a.yaml", "No such option"),
        ("rere rollback 3", "what is 3"),
        ("zenml pipeline run rere -c configs/smoke.yaml", "no rere.py"),
        ("zenml pipeline run rere_pipeline -c configs/smok.yaml", "no file configs/smok.yaml"),
        ("python -m benchmarks.decode", "no module benchmarks.decode"),
        ("python -m benchmarks.decoding --fast", "no option --fast"),
        ("pip install -e '.[gpu]'", "no extra gpu"),
        ("rm -rf x", "no program rm"),
        ("true && make demoo # make test", "no target demoo"),
    ],
)
def test_wrong_commands_are_noticed(command: str, problem: str) -> None:
    assert problem in str([wrong for words in commands(command) for wrong in problems(words, "")])


def test_the_shell_is_read() -> None:
    script = 'A=1 make x  # why\ncurl -d \\\n  \'{"a": 1}\' b | head -3 > c\nsay "two\nlines" && make y\n'
    assert commands(script) == [
        ["make", "x"],
        ["curl", "-d", '{"a": 1}', "b"],
        ["head", "-3"],
        ["c"],
        ["say", "two\nlines"],
        ["make", "y"],
    ]


# ---------------------------------------------------------------- citation


@pytest.mark.parametrize("block", of("bibtex"), ids=str)
def test_the_paper_is_cited_alike(block: Block) -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"][0]
    entry = " ".join(block.text.split())
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert f"author = {{{names}}}" in entry.replace("  ", " ")
    assert paper["title"] in entry
    assert paper["identifiers"][0]["value"] in entry


def test_the_citation_file_is_valid() -> None:
    check = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.citation-file-format"]
    done = subprocess.run([*check, str(ROOT / "CITATION.cff")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
