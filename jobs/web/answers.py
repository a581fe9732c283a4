"""Answers to what clients ask of one table: the searches of `pixlake search`, over a table that is kept open."""

import contextlib
import io
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from PIL import Image

from jobs.failures import Failures, FailuresConfig
from jobs.failures import run as read_failures
from jobs.search import SearchSettings, search_in
from jobs.web.asked import AnsweredSearch, AskedExample, AskedSearch, ImageSent, RowsShown, ServedRow
from jobs.web.described import ServedTable, cluster_column, served_table
from jobs.web.groups import (
    AlikeGroup,
    AlikeGroups,
    ServedClusters,
    alike_groups,
    alike_of,
    duplicates_of,
    served_clusters,
)
from jobs.web.pictures import Pictures, PictureSize
from jobs.web.rows import NoRowError, one_row, picture_row, row_of_id, some_rows
from jobs.web.uploads import Uploads
from operators.base.columns import REGION
from operators.base.errors import ErrorClass, UserError
from pipelines.index.records import vector_indexes
from pipelines.pictures.make import NoPictureError
from pipelines.scan.plain import FILE_GONE
from pipelines.search.example import Example, Query
from pipelines.search.kept_operators import KEPT
from pipelines.table.errors import TableError
from pipelines.versions.followed import FollowedTable

_CHAINS = 4
"""Kinds of image queries whose operators stay loaded: by whole images and by parts, of two models."""
_MOST_WARM = 2
"""Models that are loaded before anybody asks."""
Read = TypeVar("Read")
"""What a read of the table gives."""


class Answers:
    """One table, kept open, and the images that clients ask by. Thread-safe."""

    def __init__(
        self, settings: SearchSettings, failures: FailuresConfig, followed: FollowedTable, pictures: Pictures
    ) -> None:
        self.settings = settings
        self._failures = failures
        self.followed = followed
        self.pictures = pictures
        self.uploads = Uploads()
        self._clusters: ServedClusters | None = None
        self._clustering = threading.Lock()
        KEPT.chains = max(KEPT.chains, _CHAINS)

    def warm_up(self) -> list[str]:
        """Load the models by which queries come in, and give their names. Raises what a query would."""
        dataset = self.followed.latest()
        about = served_table(self.settings.table, dataset, 0)
        own = [column for column in about.columns if column.loaded_here][:_MOST_WARM]
        for column in own:
            examples = [AskedExample(by="image", value=self.uploads.keep(_grey()))]
            examples += [AskedExample(by="text", value="grey")] if column.words else []
            for each in examples:
                self.search(AskedSearch(examples=[each], k=1, column=column.name))
        return [column.model for column in own]

    def search(self, asked: AskedSearch) -> AnsweredSearch:
        """The rows nearest to the query. Raises `UserError`, `TableError`, `OSError`."""
        began = time.monotonic()
        return self._read(lambda dataset: self._answered(asked, dataset, began))

    def described(self) -> ServedTable:
        """What the page has to know of the table."""
        failures = 0
        # Another tool's table has none.
        with contextlib.suppress(UserError):
            failures = self._failures.failures.count_rows()
        duplicates = duplicates_of(self.followed.table) is not None
        return self._read(lambda dataset: served_table(self.settings.table, dataset, failures, duplicates=duplicates))

    def some_rows(self, where: str | None, limit: int) -> RowsShown:
        """The first live rows that match. Raises `UserError`."""
        return self._read(lambda dataset: some_rows(dataset, where, limit))

    def one_row(self, row: int) -> ServedRow:
        """All columns of one row but its vectors. Raises `UserError`."""
        return self._read(lambda dataset: one_row(dataset, row))

    def failures(self, error_class: ErrorClass | None, contains: str | None, limit: int) -> Failures:
        """Images that gave no vector, and why. Raises `UserError`, `OSError`."""
        asked = {"error_class": error_class, "contains": contains, "limit": limit}
        return read_failures(self._failures.model_copy(update=asked))

    def duplicates(self, after: int, limit: int) -> AlikeGroups:
        """Groups of near-duplicates. Raises `UserError` where none were looked for."""
        found = duplicates_of(self.followed.table)
        if found is None:
            raise UserError(f"`pixlake duplicates {self.settings.table}` has not looked for near-duplicates yet")
        return self._read(lambda dataset: alike_groups(dataset, found, after, limit))

    def duplicates_of(self, name: str) -> AlikeGroup | None:
        """The group of near-duplicates that an image is in, if any."""
        found = duplicates_of(self.followed.table)
        return None if found is None else self._read(lambda dataset: alike_of(dataset, found, name))

    def clusters(self) -> ServedClusters:
        """The clusters, from one pass over the table for each of its versions. Raises `UserError` where there are
        none."""
        dataset = self.followed.latest()
        if cluster_column(dataset.schema) is None:
            raise UserError(f"`pixlake cluster {self.settings.table}` has not made clusters yet")
        with self._clustering:
            if self._clusters is None or self._clusters.version != dataset.version:
                self._clusters = self._read(served_clusters)
            return self._clusters

    def keep_image(self, data: bytes) -> ImageSent:
        """A name for an image that a client has sent. Raises `NoPictureError` for what is no image."""
        self.pictures.of_bytes(data, "small")
        return ImageSent(image=self.uploads.keep(data))

    def sent_picture(self, name: str, size: PictureSize) -> bytes:
        """The picture of an image that a client has sent. Raises `UserError`, `NoPictureError`."""
        return self.pictures.of_bytes(self.uploads.read(name), size)

    def row_picture(self, row: int, size: PictureSize, sha256: str | None = None) -> bytes:
        """The picture of a row's image, `sha256` if given. Raises `UserError`, `NoPictureError`."""
        found = self._read(lambda dataset: picture_row(dataset, row))
        if sha256 not in (None, found.sha256):
            raise NoRowError(f"row {row} holds another image by now: search again")
        return self.pictures.of_row(found, size)

    def _answered(self, asked: AskedSearch, dataset: Any, began: float) -> AnsweredSearch:
        query = Query(
            examples=tuple(self._example(each, dataset) for each in asked.examples),
            weights=tuple(each.weight for each in asked.examples),
        )
        settings = self.settings.model_copy(update=asked.model_dump(exclude={"examples"}))
        if not vector_indexes(dataset, settings.column or ""):
            # A number that means nothing without an index is no error of a page that shows two settings side by side.
            settings = settings.model_copy(update={"nprobes": None, "refine": None})
        try:
            found = search_in(settings, query, dataset, _quietly, serving=True)
        except UserError as error:
            raise type(error)(self._without_places(str(error), query)) from None
        answer = found.result
        rows = [_served(int(row), values) for row, values in zip(found.row_ids, answer.results, strict=True)]
        parts = [
            part.model_copy(update={"value": each.value})
            for part, each in zip(answer.query, asked.examples, strict=True)
        ]
        return AnsweredSearch(
            column=answer.column,
            rescored_by=answer.rescored_by,
            metric=answer.metric,
            index=answer.index,
            version=dataset.version,
            query=parts,
            seconds=time.monotonic() - began,
            results=rows,
        )

    def _example(self, asked: AskedExample, dataset: Any) -> Example:
        if asked.by == "image":
            return Example(by="image", value=self.uploads.path(asked.value), box=asked.box)
        if asked.by == "id" and asked.box is not None:
            # A part of a row's image has no vector in the table: the image is read again, as a picture's is.
            found = row_of_id(dataset, asked.value, self.settings.stored)
            try:
                name = self.uploads.keep(self.pictures.bytes_of(found))
            except NoPictureError as error:
                raise UserError(f"the image of {asked.value!r} cannot be read again: {error}") from None
            return Example(by="image", value=self.uploads.path(name), box=asked.box)
        return Example(by=asked.by, value=asked.value)

    def _without_places(self, message: str, query: Query) -> str:
        """The message without the paths of files here."""
        for each in query.examples:
            if each.by == "image":
                message = message.replace(each.value, "of the query")
        return message

    def _read(self, read: Callable[[Any], Read]) -> Read:
        """What a read of the table gives; of one that was replaced meanwhile, after it is opened anew."""
        try:
            return read(self.followed.latest())
        except (OSError, TableError, ValueError) as error:
            if isinstance(error, UserError) or (isinstance(error, ValueError) and FILE_GONE not in str(error)):
                raise
            return read(self.followed.reopen())

    def close(self) -> None:
        self.uploads.close()
        self.pictures.close()


def _served(row: int, values: dict[str, Any]) -> ServedRow:
    values = dict(values)
    score, region = values.pop("score"), values.pop(REGION.name, None)
    return ServedRow(row=str(row), score=score, values=values, region=region)


def _quietly(text: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _grey() -> bytes:
    """A small image, with which models are tried."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(written, "PNG")
    return written.getvalue()
