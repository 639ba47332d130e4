"""What the cache must never change: the scores."""

from __future__ import annotations

import pytest
import torch

from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.model.kv_cache import KvCache
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import PackedBatch

LLAMA = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
}
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(parse_model_config(LLAMA, "test"))
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter)
    return transformer


def fresh(model: Transformer, ids: list[int]) -> torch.Tensor:
    return CachedModel(model).next_logits(ids)


def test_scores_depend_on_the_ids_alone(model: Transformer) -> None:
    cached = CachedModel(model)
    texts = [IDS[:3], IDS[:4], IDS, [*IDS[:5], 7, 7], IDS[:2], IDS[:2], [8]]
    scores = [cached.next_logits(ids) for ids in texts]
    for ids, found in zip(texts, scores, strict=True):
        torch.testing.assert_close(found, fresh(model, ids))
    assert not torch.equal(scores[0], scores[1])


LONGROPE = {
    **LLAMA,
    "model_type": "phi3",
    "original_max_position_embeddings": 4,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0, 1.0, 1.5, 2.0],
        "long_factor": [2.0, 3.0, 5.0, 9.0],
    },
}


def longrope_model() -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(parse_model_config(LONGROPE, "test"))
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter)
    return transformer


def test_keys_of_a_short_text_do_not_serve_a_long_one_nor_the_reverse() -> None:
    model = longrope_model()
    cached = CachedModel(model)
    # Within four tokens, beyond them, back, and beyond again, always with the same start.
    for length in (2, 4, 5, 8, 3, 4, 7):
        torch.testing.assert_close(cached.next_logits(IDS[:length]), fresh(model, IDS[:length]))


def test_what_an_interrupted_long_pass_left_does_not_serve_a_short_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = longrope_model()
    cached = CachedModel(model)
    cached.next_logits(IDS[:6])
    with monkeypatch.context() as patch:
        patch.setattr(Transformer, "logits", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            cached.next_logits([*IDS[:2], 7, 7, 7])
    torch.testing.assert_close(cached.next_logits(IDS[:4]), fresh(model, IDS[:4]))


def _interrupted(*_: object) -> torch.Tensor:
    raise KeyboardInterrupt


def test_only_what_is_new_is_computed(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    sound = Transformer.logits

    def counted(
        self: Transformer, batch: PackedBatch, keep_P: torch.Tensor, cache: KvCache
    ) -> torch.Tensor:
        computed.append(batch.n_tokens)
        return sound(self, batch, keep_P, cache)

    monkeypatch.setattr(Transformer, "logits", counted)
    cached = CachedModel(model)
    for ids in (IDS[:5], IDS[:6], IDS, [*IDS[:6], 7]):
        cached.next_logits(ids)
    assert computed == [5, 1, 2, 1]


def test_an_interrupted_pass_leaves_nothing_behind(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = CachedModel(model)
    cached.next_logits(IDS[:3])
    with monkeypatch.context() as patch:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(model.blocks[1].attn, "mix", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cached.next_logits([*IDS[:3], 7, 7])
    torch.testing.assert_close(cached.next_logits(IDS[:4]), fresh(model, IDS[:4]))


def test_a_cached_model_needs_at_least_one_token(model: Transformer) -> None:
    with pytest.raises(ValueError, match="nothing to continue"):
        CachedModel(model).next_logits([])
