"""Sources of a few rows, whose ids, kept values and vectors are a function of the row; written, and written anew."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Kind = Literal["images", "vectors"]
Content = Literal["good", "missing", "broken", "no uri", "zero"]
Place = tuple[int, int]
"""Shard within the manifest, and row."""

LABELS = ("cat", "dog", "o'hare", 'the "fox"', None)
KEPT = pa.schema([("label", pa.string()), ("grade", pa.float32()), ("flag", pa.bool_())])
DIM = {"images": 3, "vectors": 8}
EPOCH_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Spec:
    """One row of a manifest."""

    id: str
    uri: str | None
    content: Content
    given: tuple[float, ...]
    """What the vector is made of: the colour of the image, or the vector itself."""
    kept: tuple[Any, ...]

    @property
    def vector(self) -> np.ndarray:
        """(dim,) float16: what the table must hold of it."""
        numbers = np.asarray(self.given, np.float64)
        return (numbers / np.linalg.norm(numbers)).astype(np.float16)


@dataclass(frozen=True)
class Source:
    """A manifest as it stands: another state of the same place is another `Source`."""

    kind: Kind
    uri: str
    parts: tuple[tuple[Spec, ...], ...]
    """A file, and a shard, each."""
    written_ns: int
    """Modification time of its files."""
    exported: bool = False
    """A folder that `pixlake export` wrote: its record says what the vectors are."""

    @property
    def specs(self) -> list[tuple[Place, Spec]]:
        return [((shard, row), spec) for shard, part in enumerate(self.parts) for row, spec in enumerate(part)]

    def settings(self) -> dict[str, Any]:
        """The keys of `source` in an embed job's configuration."""
        settings: dict[str, Any] = {"uri": self.uri, "id_column": "id", "keep": KEPT.names}
        if self.kind == "vectors" and not self.exported:
            settings["vectors"] = {"model": "made up"}
        return settings


@dataclass
class Sources:
    """All manifests of one table, and the images that they name."""

    folder: Path
    kind: Kind
    there: dict[str, Source] = field(default_factory=dict)
    """Name -> the state that is written now."""
    earlier: dict[str, list[Source]] = field(default_factory=dict)

    def add(self, random: random.Random) -> str:
        name = f"m{len(self.there)}"
        rows = [self._spec(random, f"{name}-{number}") for number in range(random.randint(4, 16))]
        if random.random() < 0.2:
            rows.append(rows[0])
        self._write(name, Source(self.kind, str(self.folder / name), _cut(rows, random), EPOCH_NS))
        return name

    def add_exported(self, folder: str, specs: Sequence[Spec]) -> str:
        name = f"m{len(self.there)}"
        self.there[name] = Source("vectors", folder, (tuple(specs),), 0, exported=True)
        return name

    def change(self, name: str, random: random.Random) -> None:
        """Other values under ids that are there, and rows that are new."""
        old = self.there[name]
        rows = [spec for part in old.parts for spec in part]
        at = random.randrange(len(rows))
        rows[at] = self._spec(random, rows[at].id)
        state = len(self.earlier.get(name, [])) + 1
        rows += [self._spec(random, f"{name}.{state}-{number}") for number in range(random.randint(1, 5))]
        self.earlier.setdefault(name, []).append(old)
        self._write(name, replace(old, parts=_cut(rows, random), written_ns=old.written_ns + 10**9))

    def put_back(self, name: str) -> None:
        """The state before the latest one, to the bit and the modification time."""
        self._write(name, self.earlier[name].pop())

    def write_anew(self, name: str) -> None:
        """The same rows, in files of another modification time."""
        old = self.there[name]
        self._write(name, replace(old, written_ns=old.written_ns + 10**6))

    def mend_files(self) -> int:
        """Whoever looks after the images puts the missing and broken ones right."""
        wrong = [spec for spec in self._all() if spec.content in ("missing", "broken") and not self.outcome(spec)]
        for spec in wrong:
            _save(spec)
        return len(wrong)

    def outcome(self, spec: Spec) -> bool:
        """Whether the row gives a vector, as the files stand now."""
        if spec.content in ("good", "zero", "no uri"):
            return spec.content == "good"
        path = Path(str(spec.uri))
        return path.exists() and path.stat().st_size > 20

    def _all(self) -> Iterator[Spec]:
        for source in self.there.values():
            for part in source.parts:
                yield from part

    def _spec(self, random: random.Random, id: str) -> Spec:
        kept = (
            random.choice(LABELS),
            random.choice([None, *np.arange(-2, 3, 0.25)]),
            random.choice([True, False, None]),
        )
        if self.kind == "vectors":
            content = random.choices(["good", "zero", "no uri"], [10, 1, 1])[0]
            given = tuple(random.gauss(0, 1) for _ in range(DIM["vectors"]))
            uri = None if content == "no uri" else f"https://example.org/{id}.jpg"
            return Spec(id, uri, content, (0.0,) * DIM["vectors"] if content == "zero" else given, kept)
        content = random.choices(["good", "missing", "broken", "no uri"], [8, 2, 1, 1])[0]
        colour = tuple(float(random.randint(1, 255)) for _ in range(3))
        path = self.folder / "images" / f"{id}-{random.randrange(10**6)}.png"
        spec = Spec(id, None if content == "no uri" else str(path), content, colour, kept)
        if content == "good":
            _save(spec)
        elif content == "broken":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("no image")
        return spec

    def _write(self, name: str, source: Source) -> None:
        self.there[name] = source
        folder = Path(source.uri)
        for stale in [path for path in folder.rglob("*") if path.is_file()]:
            stale.unlink()
        for number, part in enumerate(source.parts):
            for path in _write_part(folder, number, part, source.kind):
                os.utime(path, ns=(source.written_ns, source.written_ns))


def _cut(rows: Sequence[Spec], random: random.Random) -> tuple[tuple[Spec, ...], ...]:
    at = random.randint(1, len(rows))
    return tuple(tuple(part) for part in (rows[:at], rows[at:]) if part)


def _save(spec: Spec) -> None:
    path = Path(str(spec.uri))
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(int(each) for each in spec.given)
    Image.new("RGB", (4, 4), colour).save(path)


def _write_part(folder: Path, number: int, part: Sequence[Spec], kind: Kind) -> Iterator[Path]:
    columns = {"id": pa.array([spec.id for spec in part]), "uri": pa.array([spec.uri for spec in part], pa.string())}
    for index, kept in enumerate(KEPT):
        columns[kept.name] = pa.array([spec.kept[index] for spec in part], kept.type)
    metadata = folder / ("metadata" if kind == "vectors" else "") / f"metadata_{number}.parquet"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), metadata)
    yield metadata
    if kind == "vectors":
        vectors = folder / "img_emb" / f"img_emb_{number}.npy"
        vectors.parent.mkdir(exist_ok=True)
        np.save(vectors, np.array([spec.given for spec in part], np.float32))
        yield vectors
