"""Listed images as tables under the normalised schema."""

from collections.abc import Sequence

import pyarrow as pa

from operators.base.errors import clean_message
from operators.storage.redact import redact_uri
from operators.storage.stores import StorageOptions
from pipelines.manifests.columns.texts import text_array
from pipelines.manifests.manifest import SourceConfig
from pipelines.manifests.parts import normalized_schema
from pipelines.manifests.tars.listed import ListedImage, ListingNotes, read_beside_images
from pipelines.manifests.uris import check_uris


def listing_table(
    images: Sequence[ListedImage], config: SourceConfig, storage: StorageOptions, notes: ListingNotes
) -> pa.Table:
    """Listed images under the normalised schema. A name that cannot be a URI (not UTF-8, say) makes a failed row."""
    names = [image.file.uri for image in images]
    errors: list[str | None] = [None] * len(images)
    said, problems = read_beside_images(images, config, storage, notes)
    for index, problem in problems.items():
        errors[index] = clean_message(f"{redact_uri(names[index])}: {problem}")
    uris, no_uris = check_uris(names)
    for index, problem in no_uris.items():
        errors[index] = clean_message(f"{names[index]!a}: {problem}")
    columns = [uris, *map(text_array, said), pa.array(errors, pa.string())]
    return pa.Table.from_arrays(columns, schema=normalized_schema(config))
