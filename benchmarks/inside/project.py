"""The agro project of a benchmark: opened like a user's, with the bounds that the peer has too."""

from __future__ import annotations

from pathlib import Path

from datalab.platform.lab import Lab
from datalab.platform.project import create_project, templates
from datalab.platform.settings import load

BRONZE = "bronze.dados_produtores_agro"
SILVER = "silver.silver_dados_produtores_agro"
VIEWS = tuple(f"gold.{name}_features_agro" for name in ("proponente", "location", "risk"))
SOURCE = "dados_produtores"
THREADS = 2
MEMORY = "2GB"


def ensure(folder: Path) -> Path:
    """The project in `folder`, made from the template where it is missing."""
    if not (folder / "datalab.yaml").exists():
        create_project(templates()["agro"], folder)
    return folder


def opened(folder: str, table_format: str) -> Lab:
    """The project as a lab; the caller closes it."""
    bounds = {"threads": THREADS, "memory_limit": MEMORY}
    overrides = {"engine": bounds, "lake": {"format": table_format}}
    return Lab(load(ensure(Path(folder)), environ={}, overrides=overrides))
