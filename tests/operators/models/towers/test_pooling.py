"""Poolings against NumPy, written out from their definitions."""

import numpy as np
import pytest
import torch

from operators.models.spec import ModelError
from operators.models.towers.pooling import Tokens, available, check_pooling, pool, tokens_of_map

RNG = np.random.default_rng(0)
PATCHES = RNG.normal(size=(3, 12, 5)).astype(np.float32)
PREFIX = RNG.normal(size=(3, 5, 5)).astype(np.float32)
TOKENS = Tokens(torch.from_numpy(PATCHES), torch.from_numpy(PREFIX), has_class_token=True)
BARE = Tokens(torch.from_numpy(PATCHES))


def test_the_class_token_is_the_first() -> None:
    assert np.array_equal(pool(TOKENS, "cls", 3.0).numpy(), PREFIX[:, 0])


@pytest.mark.parametrize("tokens", [TOKENS, BARE])
def test_avg_leaves_class_and_register_tokens_out(tokens: Tokens) -> None:
    assert np.allclose(pool(tokens, "avg", 3.0).numpy(), PATCHES.mean(1), atol=1e-6)


def test_cls_avg_is_both_one_behind_the_other() -> None:
    expected = np.concatenate([PREFIX[:, 0], PATCHES.mean(1)], axis=1)
    assert np.allclose(pool(TOKENS, "cls_avg", 3.0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.5, 3.0, 6.0])
@pytest.mark.parametrize("tokens", [TOKENS, BARE])
def test_gem_is_the_root_of_the_mean_of_powers(power: float, tokens: Tokens) -> None:
    positive = np.maximum(PATCHES.astype(np.float64), 1e-6)
    expected = (positive**power).mean(1) ** (1 / power)
    assert np.allclose(pool(tokens, "gem", power).numpy(), expected, rtol=1e-5)


def test_gem_of_power_one_is_the_mean_and_of_a_great_power_the_maximum() -> None:
    positive = Tokens(torch.from_numpy(np.abs(PATCHES)))
    assert np.allclose(pool(positive, "gem", 1.0).numpy(), np.abs(PATCHES).mean(1), rtol=1e-5)
    assert np.allclose(pool(positive, "gem", 1000.0).numpy(), np.abs(PATCHES).max(1), rtol=1e-2)


def test_gem_overflows_at_no_power() -> None:
    """60,000 is near the end of float16; its cube is past it, and its ninth power past float32."""
    large = Tokens(torch.full((1, 4, 2), 60_000, dtype=torch.float16))
    for power in (3.0, 9.0):
        pooled = pool(large, "gem", power)
        assert pooled.dtype == torch.float16
        assert np.allclose(pooled.float().numpy(), 60_000, rtol=1e-3)
    nothing = Tokens(torch.full((1, 4, 2), -1.0))
    assert np.allclose(pool(nothing, "gem", 9.0).numpy(), 1e-6)


def test_a_feature_map_has_a_token_for_each_cell() -> None:
    features = RNG.normal(size=(2, 5, 3, 4)).astype(np.float32)
    tokens = tokens_of_map(torch.from_numpy(features))
    assert tokens.prefix_NPC is None
    assert not tokens.has_class_token
    assert np.array_equal(tokens.patches_NLC.numpy(), features.transpose(0, 2, 3, 1).reshape(2, 12, 5))
    assert np.allclose(pool(tokens, "avg", 3.0).numpy(), features.mean((2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("has_class_token", "has_attention_pool", "able"),
    [
        (True, False, ("default", "cls", "avg", "cls_avg", "gem")),
        (False, False, ("default", "avg", "gem")),
        (False, True, ("default", "avg", "gem", "attn")),
    ],
)
def test_what_a_model_can_do_follows_from_its_parts(
    has_class_token: bool, has_attention_pool: bool, able: tuple[str, ...]
) -> None:
    assert available(has_class_token=has_class_token, has_attention_pool=has_attention_pool) == able


def test_what_a_model_cannot_do_names_what_it_can() -> None:
    able = available(has_class_token=False, has_attention_pool=False)
    for pooling in able:
        check_pooling("m", pooling, able)
    with pytest.raises(ModelError, match=r"'m': cannot do pooling 'cls', since it has no class token .* avg, gem$"):
        check_pooling("m", "cls", able)
    with pytest.raises(ModelError, match="no attention pool"):
        check_pooling("m", "attn", able)


def test_registers_alone_are_no_class_token() -> None:
    registers = Tokens(TOKENS.patches_NLC, TOKENS.prefix_NPC, has_class_token=False)
    for tokens in (registers, BARE):
        for pooling in ("cls", "cls_avg"):
            with pytest.raises(ValueError, match="without class"):
                pool(tokens, pooling, 3.0)  # type: ignore[arg-type]
    for pooling in ("default", "attn"):
        with pytest.raises(ValueError, match=f"'{pooling}' is not to be had"):
            pool(TOKENS, pooling, 3.0)  # type: ignore[arg-type]
