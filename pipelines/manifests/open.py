"""Opens what the user names as the source: a manifest, with fixed positions, or a folder of ready vectors."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from operators.base.counted import counted
from operators.fetching.links import LinksOutside
from operators.storage.redact import reason_of, redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.choose import choose_columns, digested_as, image_notices, type_notices
from pipelines.manifests.columns.hive import columns_in_path
from pipelines.manifests.file_kinds import ENDINGS, is_image_name, is_tar_name, manifest_kind
from pipelines.manifests.files import (
    Listing,
    Place,
    SourceFile,
    about_braces,
    is_marker,
    list_files,
    locate,
    manifest_digest,
    unreadable,
)
from pipelines.manifests.kept_names import check_names, kept_as
from pipelines.manifests.lake_tables import refuse_lake_table
from pipelines.manifests.lines.write import LinesSource
from pipelines.manifests.listings.digest import ListingDigest
from pipelines.manifests.listings.write import ListedSource, write_listing
from pipelines.manifests.manifest import (
    Columns,
    Manifest,
    NoImagesError,
    OnRows,
    SourceConfig,
    SourceError,
    SourceMissingError,
    check_columns,
    choose_uri_column,
    refuse_columns,
)
from pipelines.manifests.normalized import Normalized, find_covering, find_normalized, write_lines
from pipelines.manifests.parquet import SHARD_BYTES, plan_shards, read_footers
from pipelines.manifests.parts import normalized_schema
from pipelines.manifests.records import column_names
from pipelines.manifests.tars.listed import (
    ListedImage,
    asked_columns,
    check_listed_columns,
    listed_images,
    says_something,
)
from pipelines.manifests.tars.open import open_tars
from pipelines.manifests.uris import parent_folder
from pipelines.manifests.vectors.folder import METADATA_FOLDER, VECTORS_FOLDER, VectorFolder, open_vector_folder


def open_source(config: SourceConfig, storage: StorageOptions) -> VectorFolder | Listing:
    """The source's ready vectors, opened; for any other source its files, from which `open_manifest` makes the
    manifest.

    Raises `SourceError` where nothing is there, or where `vectors` is set for a source that has none.
    """
    try:
        files = Listing(locate(config.uri, storage), storage)
        folder = open_vector_folder(files, config)
    except unreadable() as error:
        kind = SourceMissingError if isinstance(error, FileNotFoundError) else SourceError
        raise kind(
            f"cannot read {redact_uri(config.uri)}: {reason_of(error)}; check the place and the storage options"
        ) from error
    if folder is None and config.vectors is not None:
        raise SourceError(
            f"source.vectors is set, but {redact_uri(config.uri)} is no folder of ready vectors "
            f"({VECTORS_FOLDER}/*.npy with {METADATA_FOLDER}/*.parquet); leave it out, or name the folder above them"
        )
    return folder or files


def open_manifest(
    files: Listing,
    config: SourceConfig,
    work_uri: str,
    progress: OnRows | None = None,
    allowed_roots: Sequence[str] = (),
) -> Manifest:
    """The source with its positions fixed. Other formats than Parquet are first written under `work_uri`, or found
    there. Of links that lead outside the source's folder and `allowed_roots` a notice says how many are not read.

    Raises `SourceError` where nothing is there, a column is missing or reserved, files differ, or a file is unreadable.
    A bad row is never the reason: it becomes a failure when it is read.
    """
    try:
        return _open(files, config, work_uri, progress, allowed_roots)
    except unreadable() as error:
        raise SourceError(
            f"cannot read {redact_uri(config.uri)} or keep its manifest under {work_uri}: "
            f"{reason_of(error)}; check both places and the storage options"
        ) from error


def _open(
    files: Listing, config: SourceConfig, work_uri: str, progress: OnRows | None, allowed_roots: Sequence[str]
) -> Manifest:
    place, storage = files.place, files.storage
    work_uri = work_uri if "://" in work_uri else os.path.abspath(work_uri)
    found = look_into(files)
    roots = roots_of(place)
    uri = redact_uri(config.uri)
    if config.bytes_column is not None:
        _check_parquet(found, uri)
    if found.has_images:
        check_listed_columns(files, config)
        done, beside, links = _list_images(files, config, work_uri, progress, (*roots, *allowed_roots))
        notices = (*beside.notices(), *done.notices, *links.notices())
        return replace(_manifest(done, uri, config, roots, notices), rows_say_all=False)
    if found.tars:
        others = found.manifests if place.kind == "folder" else None
        opened = open_tars(found.tars, others, config, work_uri, storage, progress, roots)
        outside = _outside(found.tars, (*roots, *allowed_roots))
        return replace(opened, notices=(*opened.notices, *outside))
    manifests = found.manifests
    kind = _one_kind(manifests, place)
    if config.csv_escape is not None and kind not in ("csv", "tsv"):
        raise SourceError(f"{uri}: csv_escape is set, and is for CSV alone; leave it out")
    if kind == "parquet":
        return _open_parquet(manifests, config, storage, uri, roots)
    config, in_path = _fix_columns(manifests, kind, config, storage)
    digest = manifest_digest(manifests, config.uri_column, config, _digested_as(kind, config))
    source = LinesSource(files=manifests, kind=kind, config=config, in_path=in_path, storage=storage)
    done = find_covering(work_uri, digest, config.limit, storage) or write_lines(source, digest, work_uri, progress)
    return _manifest(done, uri, config, roots, ())


def _digested_as(kind: str, config: SourceConfig) -> str:
    escape = "" if config.csv_escape is None else f" escape {config.csv_escape}"
    return f"{kind} {config.rows_per_shard}{escape}"


def _outside(tars: Sequence[SourceFile], roots: Sequence[str]) -> tuple[str, ...]:
    links = LinksOutside(roots)
    for tar in tars:
        if tar.link:
            links.see(tar.uri)
    return links.notices()


@dataclass
class PlaceContents:
    """What lies in a place, up to the first image, if there is one."""

    manifests: list[SourceFile]
    tars: list[SourceFile]
    has_images: bool = False


def look_into(files: Listing) -> PlaceContents:
    """The manifests and tars in the place, and whether it holds images, which then are the source.

    Stops at the first image, so a folder of a billion images is not listed twice. Raises `NoImagesError` where it has
    nothing of all that.
    """
    place = files.place
    if place.kind == "web" and not (manifest_kind(place.uri) or is_image_name(place.uri)):
        raise SourceError(
            f"{redact_uri(place.uri)}: the web has no listing, so an https source is one manifest or one image; "
            f"{ENDINGS}"
        )
    found = PlaceContents([], [])
    num_files, links = 0, Links(())
    for file in links.see(files.entries()):
        num_files += 1
        refuse_lake_table(file.uri, place)
        if is_image_name(file.uri):
            return replace(found, has_images=True)
        if is_marker(file.uri, place):
            continue
        if is_tar_name(file.uri):
            found.tars.append(file)
        elif manifest_kind(file.uri):
            found.manifests.append(file)
    if not found.manifests and not found.tars:
        what = f"{num_files} files, none of which is an image, a tar or a manifest" if num_files else "nothing there"
        told = about_braces(place.uri) + "".join(f"; {notice}" for notice in links.notices())
        raise NoImagesError(f"{redact_uri(place.pattern or place.uri)}: {what}{told}; {ENDINGS}")
    return found


def _list_images(
    files: Listing, config: SourceConfig, work_uri: str, progress: OnRows | None, roots: Sequence[str]
) -> tuple[Normalized, "LeftAside", "Links"]:
    """The listing, written now, or found if an earlier one had the very same files; and what gives no rows."""
    place, storage, asked = files.place, files.storage, asked_columns(config)
    beside = LeftAside(place, config)

    def images(links: Links) -> Iterable[ListedImage]:
        return islice(listed_images(beside.see(links.see(files.entries())), place.uri, asked), config.limit)

    def images_after(uri: str) -> Iterable[ListedImage]:
        return listed_images(list_files(place, storage, after=uri), place.uri, asked)

    if next(find_normalized(work_uri, None, storage), None) is not None:
        digest, links = ListingDigest(config), Links(roots)
        for _ in digest.observe(images(links)):
            pass
        found = next(find_normalized(work_uri, digest.hexdigest(), storage), None)
        if found is not None:
            return found, beside, links
    links = Links(roots)

    def images_anew() -> Iterable[ListedImage]:
        nonlocal links
        links = Links(roots)
        return images(links)

    goes_on = "://" in place.uri and not asked
    source = ListedSource(
        place=place,
        config=config,
        storage=storage,
        images=images_anew,
        images_after=images_after if goes_on else None,
    )
    return write_listing(source, work_uri, progress), beside, links


class LeftAside:
    """Manifests and tars that lie among the images of one listing and say nothing of them: the first three by name."""

    def __init__(self, place: Place, config: SourceConfig) -> None:
        self._place, self._config = place, config
        self._uris: dict[str, None] = {}

    def see(self, files: Iterable[SourceFile]) -> Iterator[SourceFile]:
        """The files, as they come; any number of times."""
        for file in files:
            if len(self._uris) < 3 and self._is_left(file):
                self._uris[file.uri] = None
            yield file

    def _is_left(self, file: SourceFile) -> bool:
        if is_image_name(file.uri) or not (is_tar_name(file.uri) or manifest_kind(file.uri)):
            return False
        return not is_marker(file.uri, self._place) and not says_something(file, self._config)

    def notices(self) -> tuple[str, ...]:
        return tuple(
            f"{redact_uri(uri)} lies among images and is not read; to read it, name it as the source"
            for uri in self._uris
        )


class Links:
    """The links of one listing: those that give no rows are counted, and those that lead outside."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._outside = LinksOutside(roots)
        self._to_folders, self._to_nothing = 0, 0
        self._folder = ""
        """A link to a folder, as an example."""

    def see(self, entries: Iterable[SourceFile]) -> Iterator[SourceFile]:
        """The files among the entries, as they come."""
        for entry in entries:
            if entry.link == "folder":
                self._to_folders += 1
                self._folder = self._folder or entry.uri
            elif entry.link == "nothing":
                self._to_nothing += is_image_name(entry.uri)
            else:
                if entry.link and is_image_name(entry.uri):
                    self._outside.see(entry.uri)
                yield entry

    def notices(self) -> tuple[str, ...]:
        lines = [*self._outside.notices()]
        if self._to_folders:
            lines.append(
                f"{counted(self._to_folders, 'link to a folder is', 'links to folders are')} not followed; name one as "
                f"a source of its own, such as {self._folder}"
            )
        if self._to_nothing:
            links = counted(self._to_nothing, "link that is called as an image", "links that are called as images")
            lines.append(f"left out, since they lead to nothing: {links}")
        return tuple(lines)


def _check_parquet(found: PlaceContents, uri: str) -> None:
    if found.has_images or found.tars or any(manifest_kind(file.uri) != "parquet" for file in found.manifests):
        raise SourceError(
            f"{uri}: bytes_column is set, and names a column of Parquet files, of which alone this source would have "
            "to be; name them with a glob, or leave it out"
        )


def _one_kind(manifests: Sequence[SourceFile], place: Place) -> str:
    kinds = {manifest_kind(file.uri): file.uri for file in reversed(manifests)}
    if len(kinds) > 1:
        examples = " and ".join(redact_uri(uri) for uri in islice(kinds.values(), 2))
        raise SourceError(
            f"{place.pattern or place.uri} holds manifests of several kinds ({examples}); "
            f"name one kind with a glob, such as {place.uri}/*{os.path.splitext(manifests[0].uri)[1]}"
        )
    return next(iter(kinds)) or ""


def _open_parquet(
    files: Sequence[SourceFile], config: SourceConfig, storage: StorageOptions, uri: str, roots: tuple[str, ...]
) -> Manifest:
    footers = read_footers(files, config, storage)
    columns = choose_columns(files, footers, config, storage)
    image = columns.image
    kind = "parquet" if image is None else f"parquet {image.name}"
    shards = plan_shards(files, footers, max_bytes=SHARD_BYTES if image is not None else None)
    return Manifest(
        digest=manifest_digest(files, columns.uri, config, digested_as(kind, columns)),
        uri=uri,
        shards=shards,
        num_rows=sum(shard.num_rows for shard in shards),
        rows_say_all=image is None,
        columns=columns,
        allowed_roots=roots,
        notices=(*image_notices(columns, footers), *type_notices(footers, config)),
    )


def _fix_columns(
    files: Sequence[SourceFile], kind: str, config: SourceConfig, storage: StorageOptions
) -> tuple[SourceConfig, tuple[str, ...]]:
    """(the configuration with its URI column decided, checked against the first file with rows; the kept columns that
    folders' names say)."""
    if kind == "text":
        refuse_columns(config, "a text manifest")
    check_names(config)
    names, first = column_names([file.uri for file in files], kind, config, storage)
    where = redact_uri(first)
    in_path = columns_in_path(names, files, config)
    fixed = config.model_copy(update={"uri_column": choose_uri_column(names, config, where)})
    check_columns(names, config, where, in_path)
    return fixed, in_path


def _manifest(
    done: Normalized, uri: str, config: SourceConfig, roots: tuple[str, ...], notices: tuple[str, ...]
) -> Manifest:
    kept = tuple(normalized_schema(config).field(name) for name in kept_as(config).values())
    return Manifest(
        digest=done.digest,
        uri=uri,
        shards=done.shards(),
        num_rows=done.num_rows,
        complete=done.complete,
        columns=Columns(id="id", kept=kept, resolved=True),
        allowed_roots=roots,
        notices=notices,
    )


def roots_of(place: Place) -> tuple[str, ...]:
    """Local folders from which the images of a source may be read; none for a source in an object store."""
    if "://" in place.uri:
        return ()
    return (parent_folder(place.uri),) if place.kind == "file" else (place.uri,)
