"""The recipe for one's own training loop runs as it stands; PEFT reads what it saves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests_integration.tolerances import F32_LOGITS, assert_parity, differs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "src" / "howto" / "lora-in-your-own-loop.md"


def test_the_recipe_runs_and_peft_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    peft = pytest.importorskip("peft", reason="the oracle")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 5
    torch.manual_seed(0)
    base = names["LlamaForCausalLM"](names["config"])
    assert torch.equal(base(names["ids"]).logits, names["before"])
    model = peft.PeftModel.from_pretrained(base, tmp_path / "my-adapter")
    with torch.no_grad():
        logits = model(names["ids"]).logits
    assert_parity(logits, names["trained"], F32_LOGITS)
    assert differs(names["trained"], names["before"], F32_LOGITS)
