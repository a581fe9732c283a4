"""Which number a new fragment may have, where Lance leaves that to whoever commits it."""

import lance

_MAX_FRAGMENT_ID = 11
"""The field `max_fragment_id` of the message `Manifest` in Lance's `table.proto`."""


def next_fragment_id(dataset: "lance.LanceDataset") -> int:
    """The number after all that the table's fragments have ever had, those that are gone included.

    An index knows rows by their fragment's number, also rows that were deleted: a number given a second time would have
    it take new rows for those. Lance keeps the highest in its manifest; pylance does not tell it otherwise.
    """
    highest = varint_field(dataset._ds.serialized_manifest(), _MAX_FRAGMENT_ID)
    return 0 if highest is None else highest + 1


def varint_field(message: bytes, wanted: int) -> int | None:
    """The number in a field of a protobuf message; None where it is not set."""
    at, found = 0, None
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            found = value if field == wanted else found
        elif kind == 2:
            length, at = _varint(message, at)
            at += length
        else:
            at += {1: 8, 5: 4}[kind]
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(number, where the next byte is)."""
    value = shift = 0
    while True:
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
