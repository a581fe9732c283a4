"""Groups of ranked nodes, held against the plain loops that they stand for."""

import numpy as np
import pytest

from pipelines.duplicates.groups import group


def edges(random: np.random.Generator) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    nodes, count = int(random.integers(2, 40)), int(random.integers(0, 90))
    pairs = np.sort(random.integers(0, nodes, (count, 2)), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)
    # Few values, so that many are equal.
    return nodes, pairs[:, 0], pairs[:, 1], random.integers(5, 9, len(pairs)).astype(np.float32) / 10


def greedy(nodes: int, like: dict[tuple[int, int], float]) -> dict[int, tuple[int, float]]:
    """Node -> (kept node, cosine), going down the ranks."""
    kept: list[int] = []
    found = {}
    for node in range(nodes):
        above = [(like[each, node], each) for each in kept if (each, node) in like]
        if not above:
            kept.append(node)
            found[node] = (node, 1.0)
        else:
            cosine, best = max((cosine, -each) for cosine, each in above)
            found[node] = (-best, cosine)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_leaders_are_those_of_a_walk_down_the_ranks(seed: int) -> None:
    nodes, low, high, cosine = edges(np.random.default_rng(seed))
    found = group(nodes, low, high, cosine, "leader")
    like = {(int(a), int(b)): float(c) for a, b, c in zip(low, high, cosine, strict=True)}
    wanted = greedy(nodes, like)
    assert found.kept.tolist() == [wanted[node][0] for node in range(nodes)]
    assert found.cosine.tolist() == [pytest.approx(wanted[node][1]) for node in range(nodes)]


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_is_all_that_is_connected_however_the_edges_are_cut(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, low, high, cosine = edges(np.random.default_rng(seed))
    first = list(range(nodes))
    for _ in range(nodes):
        for a, b in zip(low.tolist(), high.tolist(), strict=True):
            first[a] = first[b] = min(first[a], first[b])
    monkeypatch.setattr("pipelines.duplicates.groups._AT_ONCE", 7)
    found = group(nodes, low, high, cosine, "chain")
    assert found.kept.tolist() == first
    direct = {(a, b): c for a, b, c in zip(low.tolist(), high.tolist(), cosine.tolist(), strict=True)}
    for node in range(nodes):
        wanted = 1.0 if first[node] == node else direct.get((first[node], node), np.nan)
        assert found.cosine[node] == pytest.approx(wanted, nan_ok=True)


def test_of_a_chain_every_third_leads_and_no_member_is_unlike_its_leader() -> None:
    low, high = np.arange(8), np.arange(1, 9)
    found = group(9, low, high, np.full(8, 0.9, np.float32), "leader")
    assert found.kept.tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8]
    assert set(group(9, low, high, np.full(8, 0.9, np.float32), "chain").kept.tolist()) == {0}
