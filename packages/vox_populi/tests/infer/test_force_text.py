"""Scores of a text that was written by somebody else, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.force_text import force_text
from vox_populi.model.transformer import Transformer

CONFIG = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}


def log_softmax(scores: list[float]) -> np.ndarray:
    values = np.array(scores, dtype=np.float64)
    shifted: np.ndarray = values - values.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def test_each_token_has_the_score_it_has_in_its_place() -> None:
    torch.manual_seed(0)
    model = Transformer(parse_model_config(CONFIG, "test")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    prompt, ids, ends = [1, 2, 3], [7, 0, 39], {5, 6}
    found = force_text(model, prompt, ids, ends)
    for place in range(len(ids) + 1):
        text = [*prompt, *ids[:place]]
        wanted = log_softmax(CachedModel(model).next_logits(text).tolist())
        if place == len(ids):
            assert found.next_logprob == pytest.approx(wanted.max(), abs=1e-5)
            assert found.stop_logprob == pytest.approx(wanted[[5, 6]].max(), abs=1e-5)
            continue
        token = found.tokens[place]
        assert token.logprob == pytest.approx(wanted[ids[place]], abs=1e-5)
        assert token.best_id == int(wanted.argmax())
        assert token.gap == pytest.approx(wanted.max() - wanted[ids[place]], abs=1e-5)
    assert any(each.gap > 0 for each in found.tokens)
    assert force_text(model, prompt, [], ends).tokens == ()
    with pytest.raises(ValueError, match="at least one"):
        force_text(model, [], ids, ends)
