"""What stands beside a served model."""

from __future__ import annotations

from typing import Any, ClassVar

from materializers.directory import DirectoryMaterializer
from rere.recommenders.prior import Prior


class PriorMaterializer(DirectoryMaterializer):
    """Counts and settings."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Prior,)

    FOLDER: ClassVar[str] = "prior"
