"""Where a study is kept, so that a killed one goes on: `$RERE_STUDIES_DIR`, or `.rere/studies` in the project.

A study's directory is named by a hash of all that its trials depend on: data, settings, space, what settings name, and
code. How many trials there are to be, how many at a time, and by which rule they are drawn and pruned isn't part of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ops.runtime.cache_keys import code_fingerprint
from ops.runtime.run_dirs import catalogue_fingerprint, columns_fingerprint
from rere.artifacts.manifest import fingerprint
from rere.project import file_name, project_root
from rere.recommenders.registry import modules
from rere.tuning.study import StudySpec
from rere.tuning.trial import TrialInputs

ANY = {"trials", "processes", "sampler", "pruning", "seed"}  # settings that may change while a study goes on
TRAINED = ("catalog", "item_models", "sft", "preference", "rl", "evaluation")  # stages that a trial is made of


def study_directory(spec: StudySpec, inputs: TrialInputs, named_sha256: str) -> Path:
    """The directory of this study alone."""
    code = [code_fingerprint(module) for module in ("rere.tuning.trial", *modules())]
    parts = {
        "tuning": spec.config.model_dump_json(exclude=ANY),
        "settings": json.dumps({stage: spec.settings[stage] for stage in TRAINED}, sort_keys=True),
        "windows": inputs.windows.fingerprint,
        "catalog": catalogue_fingerprint(inputs.catalog),
        "columns": columns_fingerprint(inputs.catalog),
        "named": named_sha256,
        "code": "\n".join(code),
    }
    root = Path(os.environ.get("RERE_STUDIES_DIR") or project_root() / ".rere" / "studies")
    return root / f"{file_name(spec.config.study)}-{fingerprint(parts)[:16]}"
