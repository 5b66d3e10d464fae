"""The item index."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.metadata.metadata_types import MetadataType

from materializers.directory import DirectoryMaterializer
from rere.catalog.index import CatalogIndex

SAMPLE_ITEMS = 50


class CatalogIndexMaterializer(DirectoryMaterializer):
    """Items with their tokens, the trie, the tokenizer."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (CatalogIndex,)

    FOLDER: ClassVar[str] = "catalog"

    def pictures(self, data: CatalogIndex) -> dict[str, str]:
        sample = data.items.head(SAMPLE_ITEMS)
        codes = [" ".join(map(str, data.item_tokens[n])) for n in range(len(sample))]
        return {"items_sample.csv": sample.assign(tokens=codes).to_csv(index=False)}

    def facts(self, data: CatalogIndex) -> dict[str, MetadataType]:
        lengths = [len(tokens) for tokens in data.item_tokens]
        return {
            "items": len(lengths),
            "shared_titles": int(data.items["title"].duplicated(keep=False).sum()),
            "tokens_an_item": round(sum(lengths) / len(lengths), 2),
            "longest_item_tokens": max(lengths),
            "vocabulary": len(data.tokenizer),
            "code": data.config.code.type,
        }
