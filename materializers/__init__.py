"""How artifacts are kept: sealed directories, Parquet, JSON; never a pickle. Importing registers them all."""

from materializers.catalog import CatalogIndexMaterializer
from materializers.checkpoint import CheckpointMaterializer
from materializers.dataset import DatasetMaterializer, WindowsMaterializer
from materializers.directory import DirectoryMaterializer
from materializers.item_models import ItemModelsMaterializer
from materializers.records import RecordMaterializer, ValidationReportMaterializer
from materializers.table import TableMaterializer

__all__ = [
    "CatalogIndexMaterializer",
    "CheckpointMaterializer",
    "DatasetMaterializer",
    "DirectoryMaterializer",
    "ItemModelsMaterializer",
    "RecordMaterializer",
    "TableMaterializer",
    "ValidationReportMaterializer",
    "WindowsMaterializer",
]
