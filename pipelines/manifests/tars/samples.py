"""The images of one tar, each with what the tar's other members say of it: those with its key, wherever they lie."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.manifests.columns.ids import IdError, json_id
from pipelines.manifests.file_kinds import is_image_name
from pipelines.manifests.files import SourceFile
from pipelines.manifests.lines.text import MAX_LINE_BYTES, line_of
from pipelines.manifests.records import as_text, parse_object
from pipelines.manifests.tars.members import TarMember, read_members
from pipelines.manifests.tars.notes import TarNotes
from pipelines.manifests.tars.streams import ByteStream

KEY, JSON = "key", "json"
_HELD_BYTES = 256 << 20
_MEMBER_BYTES = 512
"""What a member weighs in memory beside its text."""


@dataclass(slots=True)
class Sample:
    """What is said of the images of one key: `a/000012` of `a/000012.jpg`, `a/000012.left.png` and `a/000012.json`."""

    key: str
    texts: dict[str, str | None] = field(default_factory=dict)
    """Ending -> content of a file that is text."""
    fields: dict[str, dict[str, object]] = field(default_factory=dict)
    """Ending of a `.json` file -> its fields."""
    has_image: bool = False

    def add(self, ending: str, data: bytes | None) -> bool:
        """A file's content, None where it is over 1 MiB. False where it cannot be read, and its values are null."""
        line = line_of(1, data or b"", data is None)
        if _last(ending) != JSON:
            self.texts[ending] = None if line.problem else line.text
            return line.problem is None
        parsed, problem = parse_object(line)
        self.fields[ending] = {str(name): value for name, value in (parsed or {}).items()}
        return problem is None


class SampleImage(NamedTuple):
    """One image of a tar."""

    member: TarMember
    ending: str
    sample: Sample


def value_of(sample: Sample, ending: str, name: str) -> str | None:
    """A field or a text of the image with this ending, as text. Of `a.left.jpg` first what `a.left.json` and
    `a.left.txt` say, then what `a.json` and `a.txt` do; fields before texts."""
    return as_text(_said(sample, ending, name)[0])


def ids_of(images: Iterable[tuple[Sample, str]], name: str | None) -> tuple[list[str | None], dict[int, str]]:
    """(the id of each image, given as its sample and ending; the indices of those that have none, and why)."""
    ids: list[str | None] = []
    problems: dict[int, str] = {}
    for index, (sample, ending) in enumerate(images):
        value, is_field = (None, False) if name is None else _said(sample, ending, name)
        try:
            ids.append(json_id(value) if is_field else as_text(value))
        except IdError as error:
            ids.append(None)
            problems[index] = f"id_column {name!r} holds {error}"
    return ids, problems


def _said(sample: Sample, ending: str, name: str) -> tuple[object, bool]:
    """(what is said, whether by a field of a `.json`)."""
    stems = dict.fromkeys([stem_of(ending), ""])
    for stem in stems:
        if name in (fields := sample.fields.get(f"{stem}{JSON}", {})):
            return fields[name], True
    if name == KEY:
        return sample.key, False
    return next((sample.texts[f"{stem}{name}"] for stem in stems if f"{stem}{name}" in sample.texts), None), False


def read_images(
    file: SourceFile, stream: ByteStream, wanted: Collection[str], notes: TarNotes
) -> Iterator[SampleImage]:
    """The images in the tar's order. `wanted` are the names that are asked for of each; where there are none, no other
    member is read.

    Where there are, images wait for the rest of the tar, since nothing says that a text lies beside its image; up to
    256 MiB of what is held, and what comes behind that for an earlier image is counted in `notes`.
    """
    held: list[SampleImage] = []
    samples: dict[str, Sample] = {}
    weight, released = 0, False
    for member in read_members(file, stream, notes):
        if _is_hidden(member.name):
            continue
        key, ending = split_name(member.name)
        if key not in samples and (not wanted or weight > _HELD_BYTES):
            yield from held
            released = bool(wanted)
            notes.too_far(_without_image(samples) if released else 0)
            held, samples, weight = [], {}, 0
        if is_image_name(member.name):
            sample = samples.setdefault(key, Sample(key))
            sample.has_image = True
            held.append(SampleImage(member, ending, sample))
            weight += _MEMBER_BYTES
        elif member.problem is None and is_wanted(ending, wanted):
            too_long = member.size > MAX_LINE_BYTES
            if not samples.setdefault(key, Sample(key)).add(ending, None if too_long else stream.read(member.size)):
                notes.unread_fields()
            weight += _MEMBER_BYTES + (0 if too_long else member.size)
    yield from held
    notes.too_far(_without_image(samples) if released else 0)


def read_names(file: SourceFile, stream: ByteStream, wanted: Collection[str]) -> list[str]:
    """`key`, endings of members that are no images, and fields of `.json` members, up to the last of `wanted`; empty
    for a tar without members."""
    texts: dict[str, None] = {KEY: None}
    fields: dict[str, None] = {}
    stems: dict[str, None] = {}
    names: list[str] = []
    for member in read_members(file, stream, TarNotes()):
        ending = split_name(member.name)[1]
        if _is_hidden(member.name) or member.problem is not None:
            continue
        if is_image_name(member.name):
            stems[stem_of(ending)] = None
        elif _last(ending) != JSON:
            texts[ending] = None
        elif member.size <= MAX_LINE_BYTES:
            sample = Sample("")
            sample.add(ending, stream.read(member.size))
            fields |= dict.fromkeys(sample.fields[ending])
        names = names_of(texts, fields, stems)
        if set(names) >= set(wanted):
            break
    return names


def names_of(texts: Iterable[str], fields: Iterable[str], stems: Iterable[str]) -> list[str]:
    """The names by which texts and fields of these endings can be asked for: `left.txt`, and `txt` where there are
    images whose ending begins with the `left.` of `stems`."""
    own = [ending.removeprefix(stem) for ending in texts for stem in stems if stem and ending.startswith(stem)]
    return list(dict.fromkeys([*texts, *own, *fields]))


def stem_of(ending: str) -> str:
    """`left.` of `left.jpg`; empty for `jpg`."""
    return ending[: -len(_last(ending))]


def split_name(name: str) -> tuple[str, str]:
    """(key, ending) as the webdataset library splits them: at the first dot of the last part; the ending in small
    letters."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending.lower()


def is_wanted(ending: str, wanted: Collection[str]) -> bool:
    """Whether a file that is no image may say something of what is asked for."""
    return ending in wanted or _last(ending) in wanted or (_last(ending) == JSON and bool(wanted))


def _last(ending: str) -> str:
    return ending.rpartition(".")[2]


def _is_hidden(name: str) -> bool:
    """As in a listing; macOS puts a `._000012.jpg` of its own before each file."""
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


def _without_image(samples: dict[str, Sample]) -> int:
    return sum(not sample.has_image for sample in samples.values())
