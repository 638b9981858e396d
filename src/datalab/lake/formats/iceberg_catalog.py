"""Where Iceberg tables are registered: any catalog of PyIceberg, or one file beside the tables in a local folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyiceberg.catalog import load_catalog

from datalab.errors import InvalidSetting
from datalab.lake.formats.iceberg_folder import FolderCatalog
from datalab.lake.local import local_path

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_NAME = "datalab"


def open_catalog(warehouse: str, properties: Mapping[str, str]) -> Catalog:
    """PyIceberg's own configuration is passed through; without any, the warehouse must be a local folder."""
    if properties:
        settings = {"warehouse": warehouse, **properties}
        return load_catalog(settings.pop("name", _NAME), **settings)
    folder = local_path(warehouse)
    if folder is None:
        raise InvalidSetting(f"the warehouse {warehouse} needs a catalog", "set lake.catalog to PyIceberg's properties")
    return FolderCatalog(_NAME, folder.absolute())
