"""Where a new model goes, as a setting."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _named(folder: str) -> str:
    if not folder:
        raise ValueError("name the new model with --name NAME, for ./lake/models/NAME, or its whole folder with --out")
    return folder


NewModelFolder = Annotated[str, Field(default="", validate_default=True), AfterValidator(_named)]
"""Folder of a new model, path or URI: `./lake/models/NAME`. It must be given."""
