"""What a retraining starts from."""

from __future__ import annotations

from typing import Any, ClassVar

from materializers.records import RecordMaterializer
from rere.catalog.warm_start import StartRecord


class StartMaterializer(RecordMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (StartRecord,)
