"""What a listing is known by, and the bytes of it part by part."""

import hashlib
from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipelines.manifests.kept_names import kept_as
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.tars.listed import ListedImage

_FORMAT = 1


class ListingDigest:
    """sha256 over URI, size and etag or mtime of every listed image, in order, and of the files read beside it."""

    def __init__(self, config: SourceConfig) -> None:
        self._hash = hashlib.sha256(f"pixlake listing {_FORMAT} {config.rows_per_shard}\n".encode())
        if config.id_column is not None or config.keep:
            # Without columns as before they could be asked for: the listings of older tables are known by it.
            self._hash.update(repr((config.id_column, sorted(kept_as(config).items()))).encode())

    def observe(self, images: Iterable[ListedImage]) -> Iterator[ListedImage]:
        for image in images:
            self.update(digested(image))
            yield image

    def update(self, data: bytes) -> None:
        """`digested` of the next images."""
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def digested(image: ListedImage) -> bytes:
    """What of an image goes into the digest."""
    files = (image.file, *image.beside.values())
    return "".join([f"{file.uri}\0{file.version}\n" for file in files]).encode("utf-8", "surrogateescape")


class PartSeen:
    """What of one part's images went into the digest, compressed: 20 to 30 bytes a row, most of it the etags."""

    def __init__(self) -> None:
        self._held = pa.BufferOutputStream()
        self._packed = pa.CompressedOutputStream(self._held, "zstd")

    def update(self, data: bytes) -> None:
        self._packed.write(data)

    def packed(self) -> bytes:
        self._packed.close()
        packed: bytes = self._held.getvalue().to_pybytes()
        return packed


def unpacked(packed: bytes) -> bytes:
    """The bytes of a part: of 65,536 rows some 8 MB."""
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        data: bytes = stream.read()
        return data
