"""`pixlake tag`: names of a table's states: listed, made, moved, and taken away."""

from datetime import datetime

from pydantic import BaseModel, model_validator

from jobs.config.read import ReadConfig
from operators.base.errors import printable
from pipelines.versions.tags import TagOfState, check_name, delete_tag, list_tags, tag_state


class TagConfig(ReadConfig):
    """What is done: without a name, tags are listed."""

    name: str | None = None
    move: bool = False
    """Let the name mean the latest state, whatever it means now."""
    delete: bool = False

    @model_validator(mode="after")
    def _a_name_is_there(self) -> "TagConfig":
        if self.name is None and (self.move or self.delete):
            raise ValueError("--move and --delete are about a tag: give its name")
        if self.move and self.delete:
            raise ValueError("give one of --move and --delete")
        if self.name is not None and not self.delete:
            check_name(self.name)
        return self


class NamedState(BaseModel):
    """One tag: the version of each table, None where that table has no tag of this name."""

    name: str
    vectors: int | None
    failures: int | None
    made_at: datetime


class Tags(BaseModel):
    """The tags of a table, the oldest first; those that were asked about, where a name was given."""

    table: str
    did: str
    """`listed`, `tagged` or `deleted`."""
    tags: list[NamedState]


def run(config: TagConfig) -> Tags:
    """List the tags, or make, move or delete one. Raises `TagError`, and `UserError` where there is no table."""
    table = config.stored
    if config.name is None:
        return _tags(config, "listed", list_tags(table))
    if config.delete:
        return _tags(config, "deleted", [delete_tag(table, config.name)])
    return _tags(config, "tagged", [tag_state(table, config.name, move=config.move)])


def _tags(config: TagConfig, did: str, tags: list[TagOfState]) -> Tags:
    return Tags(table=config.table, did=did, tags=[NamedState(**vars(tag)) for tag in tags])


def as_text(found: Tags) -> str:
    if not found.tags:
        return f"{found.table}: no tags; `pixlake tag {found.table} NAME` names the state that it is in"
    said = {"listed": "", "tagged": "tagged  ", "deleted": "deleted  "}[found.did]
    return "\n".join(printable(said + _line(tag)) for tag in found.tags)


def _line(tag: NamedState) -> str:
    versions = (("version", tag.vectors), ("failures version", tag.failures))
    held = ", ".join(f"{what} {'(no tag)' if version is None else version}" for what, version in versions)
    return f"{tag.name}  {held}, made {tag.made_at:%Y-%m-%d %H:%M} UTC"
