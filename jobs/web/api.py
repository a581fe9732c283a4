"""The REST API of one table, and the page's files; `/api/openapi.json` describes it."""

import asyncio
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from jobs.failures import Failures
from jobs.web.answers import Answers
from jobs.web.asked import AnsweredSearch, AskedSearch, Condition, ImageSent, Refusal, RowsShown, ServedRow
from jobs.web.described import ServedTable
from jobs.web.groups import AlikeGroup, AlikeGroups, ServedClusters
from jobs.web.guard import TOO_LONG
from jobs.web.pictures import TYPE, PictureSize
from jobs.web.rows import NoRowError
from jobs.web.uploads import NoUploadError
from operators.base.errors import ErrorClass, UserError, printable
from operators.storage.redact import reason_of, redact
from operators.storage.uris import StorageError
from pipelines.pictures.make import NoPictureError
from pipelines.table.errors import TableError

IMAGES = "/api/images"
"""Where images are sent to: the one request that may be large."""
PAGES = {"/": "index.html", "/login": "login.html", "/api": "api.html"}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_MOST_ROWS = 200
_PICTURE_THREADS = 16
_KEPT_S = 3600
"""Seconds for which a browser keeps a picture: its address names the table's version."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "What was asked cannot be answered"},
    503: {"model": Refusal, "description": "Storage, or the table, cannot be read now"},
}
NOT_THERE = {**REFUSALS, 404: {"model": Refusal, "description": "There is no such row, or its image gives no picture"}}
_JSON_BYTES = 256 << 10
"""Bytes of a request that sends no image."""
_FILE = {"type": "string", "format": "binary"}
Answered = TypeVar("Answered")
Filter = Annotated[Condition | None, Query(description="SQL on the table's columns.")]


class Threads:
    """Where requests are worked on: searches and pictures apart, so that a slow host keeps nobody from searching."""

    def __init__(self, searches: int) -> None:
        self._searches = ThreadPoolExecutor(searches, thread_name_prefix="search")
        self._pictures = ThreadPoolExecutor(_PICTURE_THREADS, thread_name_prefix="picture")

    async def search(self, work: Callable[[], Answered]) -> Answered:
        return await asyncio.get_running_loop().run_in_executor(self._searches, work)

    async def picture(self, work: Callable[[], Answered]) -> Answered:
        return await asyncio.get_running_loop().run_in_executor(self._pictures, work)

    def close(self) -> None:
        for pool in (self._searches, self._pictures):
            pool.shutdown(wait=False, cancel_futures=True)


def make_api(answers: Answers, threads: Threads, most_bytes: int) -> FastAPI:
    """The application, without its guard. `most_bytes`: of an image that is sent."""
    api = FastAPI(
        title="Pixlake",
        description=f"Searches of the table {answers.settings.table}, its rows and their pictures.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=_JSON_BYTES,
    )
    _add_errors(api)
    _add_searches(api, answers, threads)
    _add_images(api, answers, threads, most_bytes)
    _add_rows(api, answers, threads)
    _add_groups(api, answers, threads)
    _add_pictures(api, answers, threads)
    _add_pages(api)
    _describe_as_it_is(api)
    return api


def _describe_as_it_is(api: FastAPI) -> None:
    """Leave out FastAPI's own answer to a wrong request: here it is a `Refusal` as any other."""
    described = api.openapi()
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)


def _add_searches(api: FastAPI, answers: Answers, threads: Threads) -> None:
    @api.get("/api/table", response_model=ServedTable, responses=REFUSALS, tags=["table"])
    async def table() -> ServedTable:
        """What the table holds, and how each of its columns can be searched."""
        return await threads.search(answers.described)

    @api.post("/api/search", response_model=AnsweredSearch, responses=REFUSALS, tags=["search"])
    async def search(asked: AskedSearch) -> AnsweredSearch:
        """The rows nearest to words, images, parts of images and rows, each like or unlike, by weight."""
        return await threads.search(lambda: answers.search(asked))


def _add_images(api: FastAPI, answers: Answers, threads: Threads, most_bytes: int) -> None:
    @api.post(
        IMAGES,
        response_model=ImageSent,
        responses=REFUSALS,
        tags=["search"],
        max_body_size=most_bytes,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def send_image(request: Request) -> ImageSent:
        """Send an image (the request's body is the file) and get a name for it, by which to search."""
        data = await request.body()
        return await threads.picture(lambda: answers.keep_image(data))


def _add_rows(api: FastAPI, answers: Answers, threads: Threads) -> None:
    @api.get("/api/rows", response_model=RowsShown, responses=REFUSALS, tags=["table"])
    async def rows(where: Filter = None, limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 24) -> RowsShown:
        """The first rows of the table that match."""
        return await threads.search(lambda: answers.some_rows(where or None, limit))

    @api.get("/api/rows/{row}", response_model=ServedRow, responses=NOT_THERE, tags=["table"])
    async def one_row(row: int) -> ServedRow:
        """All columns of a row but its vectors."""
        return await threads.search(lambda: answers.one_row(row))

    @api.get("/api/failures", response_model=Failures, responses=REFUSALS, tags=["table"])
    async def failures(
        error_class: ErrorClass | None = None,
        contains: Annotated[str | None, Query(max_length=2_000, description="Text within the URI.")] = None,
        limit: Annotated[int, Query(ge=0, le=_MOST_ROWS)] = 50,
    ) -> Failures:
        """Images that gave no vector, and why."""
        return await threads.search(lambda: answers.failures(error_class, contains or None, limit))


def _add_groups(api: FastAPI, answers: Answers, threads: Threads) -> None:
    @api.get("/api/duplicates", response_model=AlikeGroups, responses=REFUSALS, tags=["groups"])
    async def duplicates(
        after: Annotated[int, Query(ge=-1, le=2**63 - 1, description="The last group that is known.")] = -1,
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 20,
    ) -> AlikeGroups:
        """Groups of near-duplicates, as `pixlake duplicates` has found them."""
        return await threads.search(lambda: answers.duplicates(after, limit))

    @api.get("/api/duplicates/of", response_model=AlikeGroup | None, responses=REFUSALS, tags=["groups"])
    async def duplicates_of(id: Annotated[str, Query(max_length=10_000)]) -> AlikeGroup | None:
        """The group that an image is in; null where nothing is like it."""
        return await threads.search(lambda: answers.duplicates_of(id))

    @api.get("/api/clusters", response_model=ServedClusters, responses=REFUSALS, tags=["groups"])
    async def clusters() -> ServedClusters:
        """The clusters that `pixlake cluster` has made, the largest first, each with the images nearest its centre."""
        return await threads.search(answers.clusters)


def _add_pictures(api: FastAPI, answers: Answers, threads: Threads) -> None:
    @api.get("/api/rows/{row}/picture", response_class=Response, responses=NOT_THERE, tags=["pictures"])
    async def row_picture(
        row: int,
        size: PictureSize = "small",
        version: int | None = None,
        sha256: Annotated[str | None, Query(max_length=64, description="The image that is meant, of the row.")] = None,
    ) -> Response:
        """A row's image as WebP, 320 or 1,280 pixels at its longer side. `version` is for the browser's cache alone.
        With `sha256`, another image that has the row by now is none: a table that was made anew counts from the
        start."""
        made = await threads.picture(lambda: answers.row_picture(row, size, sha256))
        return _picture(made, lasting=version is not None)

    @api.get(IMAGES + "/{name}/picture", response_class=Response, responses=NOT_THERE, tags=["pictures"])
    async def sent_picture(name: str, size: PictureSize = "small") -> Response:
        """The picture of an image that was sent."""
        return _picture(await threads.picture(lambda: answers.sent_picture(name, size)), lasting=True)


def _picture(data: bytes, *, lasting: bool) -> Response:
    kept = {"cache-control": f"private, max-age={_KEPT_S}"} if lasting else {}
    return Response(data, media_type=TYPE, headers=kept)


def _add_pages(api: FastAPI) -> None:
    # Read once, and looked up by their whole names: no path of a client reaches the disk.
    page = {each.name: each.read_bytes() for each in files("jobs.web").joinpath("page").iterdir() if each.is_file()}

    def answer(name: str) -> Response:
        if name not in page:
            return JSONResponse({"error": "there is no such page"}, 404)
        return Response(page[name], media_type=_TYPES.get(name.rpartition(".")[2], "application/octet-stream"))

    for path, name in PAGES.items():
        api.add_api_route(path, lambda name=name: answer(name), include_in_schema=False, methods=["GET"])
    api.add_api_route("/page/{name}", answer, include_in_schema=False, methods=["GET"])


def _add_errors(api: FastAPI) -> None:
    @api.exception_handler(RequestValidationError)
    async def wrong_request(request: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc'][1:])) or 'request'}: {each['msg']}" for each in error.errors()
        )
        return _refusal(400, told)

    @api.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _refusal(error.status_code, TOO_LONG if error.status_code == 413 else str(error.detail))

    @api.exception_handler(UserError)
    @api.exception_handler(StorageError)
    async def wrong_question(request: Request, error: Exception) -> JSONResponse:
        return _refusal(400, str(error))

    @api.exception_handler(NoRowError)
    @api.exception_handler(NoUploadError)
    @api.exception_handler(NoPictureError)
    async def not_there(request: Request, error: Exception) -> JSONResponse:
        return _refusal(404 if request.method == "GET" else 400, str(error))

    @api.exception_handler(TableError)
    @api.exception_handler(OSError)
    async def storage(request: Request, error: Exception) -> JSONResponse:
        return _refusal(503, reason_of(error))

    @api.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
        return _refusal(500, "something unforeseen; the server's stderr says what")


def _refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": printable(redact(why))}, status)
