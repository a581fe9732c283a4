"""The images of one tar, each with what the tar's other members say of it: those with its key, right beside it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pipelines.manifests.columns.ids import json_id
from pipelines.manifests.file_kinds import is_image_name
from pipelines.manifests.files import SourceFile
from pipelines.manifests.lines.text import MAX_LINE_BYTES, line_of
from pipelines.manifests.records import as_text, parse_object
from pipelines.manifests.tars.members import TarMember, read_members
from pipelines.manifests.tars.notes import TarNotes
from pipelines.manifests.tars.streams import ByteStream

KEY = "key"


@dataclass(slots=True)
class TarSample:
    """Members of one key: `a/000012` of `a/000012.jpg`, `a/000012.left.png` and `a/000012.json`."""

    key: str
    images: list[TarMember] = field(default_factory=list)
    texts: dict[str, str | None] = field(default_factory=dict)
    """Ending -> content of a member that is text."""
    fields: dict[str, object] = field(default_factory=dict)
    """Fields of the `.json` member."""

    def value(self, name: str) -> str | None:
        """As text."""
        if name in self.fields:
            return as_text(self.fields[name])
        return self.key if name == KEY else self.texts.get(name)

    def id(self, name: str) -> str | None:
        """Raises `IdError` where a field of the `.json` member is no id."""
        return json_id(self.fields[name]) if name in self.fields else self.value(name)


def read_samples(
    file: SourceFile, stream: ByteStream, wanted: Collection[str] | None, notes: TarNotes
) -> Iterator[TarSample]:
    """Samples with at least one image, in the tar's order. `wanted` are the names that are asked for of each; where it
    is empty, no other member is read; None reads all of them."""
    sample = TarSample("")
    for member in read_members(file, stream, notes):
        if _is_hidden(member.name):
            continue
        key, ending = split_name(member.name)
        if key != sample.key:
            if sample.images:
                yield sample
            sample = TarSample(key)
        if is_image_name(member.name):
            sample.images.append(member)
        elif member.problem is None and _is_wanted(ending, wanted):
            _read_fields(sample, member, ending, stream, notes)
    if sample.images:
        yield sample


def split_name(name: str) -> tuple[str, str]:
    """(key, ending) as WebDataset splits them: at the first dot of the last part; the ending in small letters."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def _is_hidden(name: str) -> bool:
    """As in a listing; macOS puts a `._000012.jpg` of its own before each file."""
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def _is_wanted(ending: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or ending in wanted or (ending == "json" and bool(wanted))


def _read_fields(sample: TarSample, member: TarMember, ending: str, stream: ByteStream, notes: TarNotes) -> None:
    too_long = member.size > MAX_LINE_BYTES
    line = line_of(1, b"" if too_long else stream.read(member.size), too_long)
    if ending != "json":
        sample.texts[ending] = None if line.problem else line.text
        if line.problem:
            notes.unread_fields()
        return
    parsed, problem = parse_object(line)
    if problem is not None:
        notes.unread_fields()
    sample.fields.update({str(name): value for name, value in (parsed or {}).items()})
