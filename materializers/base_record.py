"""Which artifacts of the champion a retraining goes on from."""

from __future__ import annotations

from typing import Any, ClassVar

from materializers.records import RecordMaterializer
from ops.runtime.base_record import BaseRecord


class BaseRecordMaterializer(RecordMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (BaseRecord,)
