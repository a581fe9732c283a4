"""What is wrong with tars, counted while they are read, and said in a few lines."""

from operators.storage.redact import redact_uri

_NAMED = 3


class TarNotes:
    """Filled while tars are read."""

    def __init__(self) -> None:
        self._broken: list[str] = []
        self._num_broken = 0
        self._unread_fields = 0
        self._too_far = 0
        self._not_fetched = 0
        self._without_row = 0

    def broken(self, uri: str, what: str) -> None:
        """A tar that is not whole."""
        self._num_broken += 1
        if len(self._broken) < _NAMED:
            self._broken.append(f"{redact_uri(uri)} {what}")

    def unread_fields(self) -> None:
        """A `.json` member that is no JSON object, or a text that is none."""
        self._unread_fields += 1

    def too_far(self, samples: int) -> None:
        """Keys whose texts are there and whose image is not held any more, or not yet."""
        self._too_far += samples

    def not_fetched(self, rows: int) -> None:
        """Rows of a Parquet file beside a tar that img2dataset could not fetch: they have no member."""
        self._not_fetched += rows

    def without_row(self, images: int) -> None:
        """Images whose key is not in the Parquet file beside their tar."""
        self._without_row += images

    def lines(self) -> tuple[str, ...]:
        lines = list(self._broken)
        if self._num_broken > _NAMED:
            lines.append(f"{self._num_broken - _NAMED:,} more tars are not whole either")
        if self._not_fetched:
            lines.append(
                f"{self._not_fetched:,} rows of the Parquet files beside the tars have no image (their status is not "
                "success): they are not rows of the source"
            )
        if self._without_row:
            lines.append(
                f"{self._without_row:,} images have no row in the Parquet file beside their tar: their kept columns "
                "are null, and their ids are made from their URIs; a key there is the member's name up to the first "
                "dot, letter for letter"
            )
        if self._unread_fields:
            lines.append(
                f"{self._unread_fields:,} members with fields of images cannot be read (no JSON object, not UTF-8, or "
                "over 1 MiB): these images' kept columns are null"
            )
        if self._too_far:
            lines.append(
                f"the fields of {self._too_far:,} images may lie too far from them in their tar (over 256 MiB of "
                "fields between them): these images' kept columns are null; pack each image beside its fields"
            )
        return tuple(lines)
