"""The folder of a saved model, local or in a bucket: its card read, and its weights found and held to their sha256."""

import json
import os

import obstore
from pydantic import ValidationError

from operators.base.errors import clean_message
from operators.models.saved.card import CARD, ModelCard
from operators.models.spec import ModelDescription, ModelError, ModelSpec
from operators.models.weights.find import LocalWeights, find_weights
from operators.models.weights.hash import sha256_of_file
from operators.storage.redact import reason_of, redact
from operators.storage.stores import StorageError, StorageOptions, object_store
from operators.storage.uris import OBJECT_SCHEMES, split_uri

MOST_CARD_BYTES = 1 << 20
KNOWN_FORMAT = 1


def read_card(spec: ModelSpec, storage: StorageOptions) -> ModelCard:
    """The card of the folder that `spec.architecture` names. Raises `ModelError` for a folder that is no model, and for
    a card that this release does not know or that says what cannot be."""
    card = card_if_there(spec, storage)
    if card is None:
        where = f"{spec.architecture}/{CARD}"
        raise ModelError(
            f"model {spec.name!r}: {redact(where)} is not there, so this is no model of Pixlake's (`pixlake tune` and "
            "`pixlake distil` write them). Check the path; a folder of open_clip's or timm's own is named "
            "open_clip:local-dir:PATH or timm:local-dir:PATH"
        )
    return card


def card_if_there(spec: ModelSpec, storage: StorageOptions) -> ModelCard | None:
    """As `read_card`; None where there is no such file."""
    data = _card_bytes(spec, f"{spec.architecture}/{CARD}", storage)
    return None if data is None else parse_card(spec, data)


def parse_card(spec: ModelSpec, data: bytes) -> ModelCard:
    """The card in the bytes of a file. Raises `ModelError`."""
    where = redact(f"{spec.architecture}/{CARD}")
    if len(data) > MOST_CARD_BYTES:
        raise ModelError(f"model {spec.name!r}: {where} is larger than {MOST_CARD_BYTES:,} bytes: no card of ours")
    try:
        found = json.loads(data)
        made_by = found.get("format") if isinstance(found, dict) else None
        if isinstance(made_by, int) and made_by > KNOWN_FORMAT:
            raise ModelError(
                f"model {spec.name!r}: {where} has format {made_by}, and this release reads {KNOWN_FORMAT}: use the "
                "release of Pixlake that wrote it"
            )
        return ModelCard.model_validate_json(data)
    except (ValidationError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"model {spec.name!r}: {where} is damaged, or none of Pixlake's: {_why(error)}. Copy the folder again from "
            "where it was made, or train the model again"
        ) from error


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return clean_message(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}")
    return clean_message(str(error)) or type(error).__name__


def _card_bytes(spec: ModelSpec, where: str, storage: StorageOptions) -> bytes | None:
    """At most a byte more than a card may have; None where there is no such file."""
    try:
        scheme, _, path = split_uri(where)
        if scheme == "file":
            if not os.path.isfile(path):
                return None
            with open(path, "rb") as file:
                return file.read(MOST_CARD_BYTES + 1)
        if scheme not in OBJECT_SCHEMES:
            raise ModelError(
                f"model {spec.name!r}: a saved model is read from a folder, s3://, gs:// or az://, and not from "
                f"{scheme}://"
            )
        store, key = object_store(where, storage)
        if obstore.head(store, key)["size"] > MOST_CARD_BYTES:
            return bytes(MOST_CARD_BYTES + 1)
        return bytes(obstore.get(store, key).bytes())
    except (FileNotFoundError, obstore.exceptions.NotFoundError):
        return None
    except (StorageError, obstore.exceptions.BaseError, OSError) as error:
        raise ModelError(
            f"model {spec.name!r}: {redact(where)} cannot be read: {reason_of(error)}. Check the path, or the storage "
            "options and credentials"
        ) from error


def find_saved_weights(spec: ModelSpec, card: ModelCard, storage: StorageOptions) -> LocalWeights:
    """The weights that a card names, on this node. Raises `ModelError` where they are not there, or are others."""
    uri = f"{spec.architecture}/{card.weights_file}"
    found = find_weights(spec, uri, storage)
    if found.sha256 != card.weights_sha256:
        raise ModelError(
            f"model {spec.name!r}: {redact(uri)} has sha256 {found.sha256}, and {CARD} beside it says "
            f"{card.weights_sha256}: it was damaged or replaced. Copy the folder again from where it was made"
        )
    return found


def weights_of_run(description: ModelDescription, storage: StorageOptions) -> LocalWeights:
    """The very weights that a run was planned with, or a table made with. Raises `ModelError` where the folder was
    moved or has another model by now."""
    spec, uri, wanted = description.spec, description.weights_uri, description.weights_sha256
    assert uri is not None
    try:
        return find_weights(spec, uri, storage, wanted)
    except ModelError as error:
        if os.path.isfile(uri) and sha256_of_file(uri) == wanted:
            raise
        local = split_uri(uri)[0] == "file"
        nodes = " On a cluster of several nodes, every node needs the folder: keep it in a bucket." if local else ""
        raise ModelError(
            f"{error}. The vectors are of the model saved in {redact(spec.architecture)} with weights of sha256 "
            f"{wanted}; {_there_now(spec, wanted, storage)}. Put that folder back there (a link or a copy will do), or "
            f"embed into another table or column.{nodes}"
        ) from error


def _there_now(spec: ModelSpec, wanted: str, storage: StorageOptions) -> str:
    try:
        card = read_card(spec, storage)
    except ModelError:
        return "there is no model there now, so that it was moved or deleted"
    if card.weights_sha256 != wanted:
        return f"what is there now was made {card.created} with weights of sha256 {card.weights_sha256}"
    return "its card is there, and its weights are not those of the card"
