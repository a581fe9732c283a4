"""A manifest opened as a job opens it."""

from operators.storage.stores import StorageOptions
from pipelines.manifests.files import Listing
from pipelines.manifests.manifest import Manifest, SourceConfig
from pipelines.manifests.open import open_manifest, open_source


def manifest_of(config: SourceConfig, storage: StorageOptions, work_uri: str) -> Manifest:
    """Of a source that is no folder of ready vectors."""
    files = open_source(config, storage)
    assert isinstance(files, Listing)
    return open_manifest(files, config, work_uri)
