"""The keys of an embed job's file, which other jobs know by name alone."""

from jobs.config.embed import EmbedConfig
from jobs.config.keys import EMBED_KEYS, without_embed_keys


def test_they_are_the_fields_of_an_embed_job() -> None:
    assert set(EmbedConfig.model_fields) == EMBED_KEYS


def test_what_neither_job_knows_stays_to_be_refused() -> None:
    given = {"table": "t", "fetch": {}, "storage": {}, "tabel": "t"}
    assert without_embed_keys(given, {"table", "storage"}) == {"table": "t", "storage": {}, "tabel": "t"}
    assert without_embed_keys("t", {"table"}) == "t"
