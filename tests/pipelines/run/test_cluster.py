"""What a cluster file may say."""

import pytest
from pydantic import ValidationError

from pipelines.run.cluster import ClusterConfig

STAGES = [{"name": "fetch", "operators": ["fetch"]}]


@pytest.mark.parametrize("address", [None, "auto", "head:6379", "10.0.0.7:6379", "[fd00::7]:6379"])
def test_a_cluster_is_named_by_its_head(address: str | None) -> None:
    assert ClusterConfig.model_validate({"stages": STAGES, "address": address}).address == address


@pytest.mark.parametrize(
    "address", ["head", "ray://head:10001", "local", "http://head:8265", "head:", ":6379", "", "h/e:1"]
)
def test_what_is_no_address_of_a_head_is_refused_with_what_is_one(address: str) -> None:
    with pytest.raises(ValidationError, match="is no address of a Ray cluster: give HOST:PORT of its head"):
        ClusterConfig.model_validate({"stages": STAGES, "address": address})
