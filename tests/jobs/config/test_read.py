"""The file of an embed job given to the jobs that read its table, and which store each then asks."""

from pathlib import Path

import pytest

from jobs.config.load import ConfigError, load_config
from jobs.config.read import ReadConfig
from jobs.describe import DescribeConfig
from jobs.describe import run as describe
from jobs.failures import FailuresConfig
from jobs.failures import run as failures
from jobs.search import SearchConfig
from jobs.search import run as search
from made.table import Made

JOB = """
include: [clusters/gpu-cluster, models/clip-vit-b-32]
source: {uri: s3://bucket/images.parquet, id_column: image_id}
table: ./lake/other
storage: {region: eu-central-1}
fetch: {max_bytes: 1000000}
decode: {max_pixels: 1000}
skip_existing: true
"""


@pytest.fixture
def job(tmp_path: Path) -> str:
    (tmp_path / "nightly.yaml").write_text(JOB)
    return str(tmp_path / "nightly.yaml")


def test_the_file_of_an_embed_job_serves_every_reading_job(made: Made, job: str) -> None:
    base = {"table": made.table}
    wanted = load_config(SearchConfig, files=[job], base={**base, "id": "red"})
    assert (wanted.storage.region, wanted.fetch.max_bytes) == ("eu-central-1", 1_000_000)
    assert search(wanted).results[0]["id"] == "red"
    assert describe(load_config(DescribeConfig, files=[job], base=base)).vectors == 5
    assert failures(load_config(FailuresConfig, files=[job], base=base)).total == 2


@pytest.mark.parametrize("model", [SearchConfig, DescribeConfig, FailuresConfig])
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("storge: {}", "storge: unknown key; did you mean 'storage'?"),
        ("storage: {regin: x}", "storage.regin: unknown key; did you mean 'region'?"),
        ("clustr: {}", "clustr: unknown key; known here: "),
    ],
)
def test_a_key_that_no_job_knows_is_still_refused(
    model: type[ReadConfig], line: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "wrong.yaml").write_text(line)
    with pytest.raises(ConfigError) as error:
        load_config(model, files=[str(tmp_path / "wrong.yaml")], base={"table": "./lake/t"})
    assert says in str(error.value)


@pytest.mark.parametrize("model", [SearchConfig, DescribeConfig, FailuresConfig])
def test_table_storage_is_for_the_table(model: type[ReadConfig]) -> None:
    base = {"table": "t", "id": "x"} if model is SearchConfig else {"table": "t"}
    both = {"storage": {"region": "images"}, "table_storage": {"region": "tables"}}
    asked = load_config(model, base={**base, **both})
    assert (asked.storage.region, asked.storage_of_table.region) == ("images", "tables")
    asked = load_config(model, base={**base, "storage": {"region": "images"}})
    assert asked.storage_of_table.region == "images"
