"""Everything that is checked of a base and its rows before a QLoRA run reads a weight."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import Backend, GraphId, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.errors import ContractError, EnvironmentFailure, PreflightError
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.execution_planner import (
    ExecutionPlan,
    plan_execution,
)
from vox_populi.plan.preflight import PreflightReport, preflight
from vox_populi.plan.tokenizer_choice import TokenizerChoice
from vox_tensor.errors import Problem
from vox_tensor.tokenizer import VoxTokenizer

pytestmark = pytest.mark.requirement("qlora_preflight")

MakeContract = Callable[..., FinetuneContract]
MakeModel = Callable[..., Path]

PROXY = QloraSpec(graph=QloraGraph.PROXY)
STRICT = QloraSpec(require_full_proxy_stack=True)
QWEN_EMBEDDING = "model.embed_tokens.weight"
GPT2_EMBEDDING = "transformer.wte.weight"


@pytest.fixture
def check(
    make_contract: MakeContract, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., PreflightReport]:
    """Preflight of a QLoRA request, whose folder's tokenizer is ours."""

    def choose(kind: TokenizerKind, model_dir: Path, eos_ids: object = ()) -> TokenizerChoice:
        return TokenizerChoice(VoxTokenizer(), model_dir / "tokenizer.json")

    monkeypatch.setattr("vox_populi.plan.preflight.choose_tokenizer", choose)

    def run(model: Path, qlora: QloraSpec = PROXY, **changes: Any) -> PreflightReport:
        settings = {"backend": Backend.QLORA, "tokenizer": TokenizerKind.HF, **changes}
        return preflight(make_contract(model_dir=model, qlora=qlora, **settings))

    return run


Check = Callable[..., PreflightReport]


def problems_of(check: Check, *arguments: Any, **changes: Any) -> tuple[Problem, ...]:
    with pytest.raises(PreflightError) as caught:
        check(*arguments, **changes)
    return caught.value.problems


def split_in_two(model: Path, second: str) -> None:
    """Move one tensor of a folder into a second shard, under a name that sorts later."""
    whole = model / "model.safetensors"
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    raw = whole.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + size])
    weight_map = {}
    for file, wanted in ((names[0], False), (names[1], True)):
        part: dict[str, Any] = {}
        end = 0
        for name, entry in header.items():
            if (name == second) is wanted:
                start, stop = entry["data_offsets"]
                part[name] = {**entry, "data_offsets": [end, end + stop - start]}
                end += stop - start
                weight_map[name] = file
        text = json.dumps(part).encode()
        text += b" " * (-len(text) % 8)
        (model / file).write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    whole.unlink()
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def plan_of(report: PreflightReport, contract: FinetuneContract) -> ExecutionPlan:
    machine = MachineFacts(n_cpus=1, has_cuda=False, has_mps=False)
    return plan_execution(contract, report.inventory, report.graph, report.facts, machine)


@pytest.mark.requirement("1d")
def test_preflight_strict_rejects_missing_o_proj(check: Check, make_model: MakeModel) -> None:
    model = make_model("qwen2", only=[QWEN_EMBEDDING])
    (problem,) = problems_of(check, model, STRICT)
    assert problem.code == "MENS-P021"
    assert "strict proxy stack" in problem.what
    for layer in range(2):
        assert f"model.layers.{layer}.self_attn.o_proj.weight" in problem.what
    assert check(model, PROXY).inventory.missing


def test_a_strict_stack_names_at_most_32_keys(check: Check, make_model: MakeModel) -> None:
    model = make_model("qwen2", only=[QWEN_EMBEDDING], num_hidden_layers=40)
    (problem,) = problems_of(check, model, STRICT)
    assert problem.what.count("o_proj") == 32
    assert "and 8 more" in problem.what
    assert "needs 40" in problem.what
    assert "there are only 0" in problem.what


def test_a_complete_base_passes_strictly(check: Check, make_model: MakeModel) -> None:
    assert check(make_model("qwen2"), STRICT).inventory.missing == ()


def test_an_unusable_cache_folder_is_found_before_anything_is_written(
    check: Check, make_model: MakeModel, data_dir: Path
) -> None:
    model, in_the_way = make_model("qwen2"), data_dir / "train.jsonl"
    with pytest.raises(EnvironmentFailure, match="MENS-P023"):
        check(model, QloraSpec(cache_dir=in_the_way))
    assert not check(model, QloraSpec(cache_dir=data_dir / "cache")).inventory.missing
    assert not (data_dir / "cache").exists()


def test_the_full_graph_is_never_downgraded(check: Check, make_model: MakeModel) -> None:
    model = make_model("qwen2", only=[QWEN_EMBEDDING])
    (problem,) = problems_of(check, model, QloraSpec())
    assert problem.code == "MENS-P020"
    assert "model.layers.0.input_layernorm.weight" in problem.what
    assert "--qlora-graph proxy" in problem.fix
    assert check(model).inventory.missing


def test_the_vox_tokenizer_is_rejected(make_contract: MakeContract) -> None:
    with pytest.raises(ContractError, match=r"MENS-C003.*--tokenizer hf"):
        make_contract(backend=Backend.QLORA, tokenizer=TokenizerKind.VOX)


def test_a_missing_tokenizer_file_is_rejected(
    make_contract: MakeContract, make_model: MakeModel, data_dir: Path
) -> None:
    model = make_model("qwen2", tokenizer=False)
    contract = make_contract(
        model_dir=model, backend=Backend.QLORA, tokenizer=TokenizerKind.HF, qlora=PROXY
    )
    with pytest.raises(PreflightError) as caught:
        preflight(contract)
    assert str(model / "tokenizer.json") in {problem.where for problem in caught.value.problems}


def test_a_wte_and_a_gpt2_config_are_enough_for_the_head(
    check: Check, make_model: MakeModel, make_contract: MakeContract
) -> None:
    model = make_model("gpt2", only=[GPT2_EMBEDDING], n_embd=19, n_head=1)
    report = check(model)
    assert report.inventory.tensors[GPT2_EMBEDDING].shape == (300, 19)
    contract = make_contract(backend=Backend.QLORA, tokenizer=TokenizerKind.HF, qlora=PROXY)
    assert plan_of(report, contract).graph == GraphId.HEAD_ONLY


def test_an_inventory_takes_a_wte_of_17_by_19(make_model: MakeModel) -> None:
    only = [GPT2_EMBEDDING]
    model = make_model("gpt2", only=only, vocab_size=17, n_embd=19, n_head=1)
    found: ModelInventory = read_inventory(model, complete=False)
    assert found.tensors[GPT2_EMBEDDING].shape == (17, 19)
    assert "transformer.h.0.attn.c_proj.weight" in found.missing


def test_the_embedding_is_found_in_the_second_shard(check: Check, make_model: MakeModel) -> None:
    model = make_model("gpt2")
    split_in_two(model, GPT2_EMBEDDING)
    found = check(model).inventory.tensors[GPT2_EMBEDDING]
    assert found.shard == "model-00002-of-00002.safetensors"
    assert check(model, QloraSpec()).inventory.missing == ()


def test_an_embedding_that_is_not_a_matrix_is_rejected_by_name(
    check: Check, make_model: MakeModel
) -> None:
    model = make_model("gpt2", only=[GPT2_EMBEDDING], shapes={GPT2_EMBEDDING: (300, 4, 4)})
    (problem,) = problems_of(check, model)
    assert "wte.weight" in problem.what
    assert "2D matrix" in problem.what


def test_a_base_without_embedding_has_nothing_to_train_on(
    check: Check, make_model: MakeModel
) -> None:
    model = make_model("qwen2", only=["model.norm.weight"])
    (problem,) = problems_of(check, model)
    assert QWEN_EMBEDDING in problem.what


def test_lora_still_refuses_a_base_that_lacks_tensors(
    check: Check, make_model: MakeModel, data_dir: Path
) -> None:
    model = make_model("llama", only=[QWEN_EMBEDDING])
    found = problems_of(check, model, QloraSpec(), backend=Backend.LORA)
    assert {problem.code[:6] for problem in found} == {"MENS-H"}


@pytest.mark.parametrize(("limit", "is_refused"), [(0.24, True), (0.25, False), (None, False)])
def test_the_skip_rate_is_enforced(
    check: Check, make_model: MakeModel, data_dir: Path, limit: float | None, is_refused: bool
) -> None:
    good = json.dumps({"prompt": "a", "response": "b"})
    low = json.dumps({"prompt": "a", "response": "b", "rating": 1})
    lines = [good, good, good, good, good, low, "{}", "not json"]
    (data_dir / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = QloraSpec(graph=QloraGraph.PROXY, max_skip_rate=limit)
    model = make_model()
    if not is_refused:
        report = check(model, spec, on_bad_row=OnBadRow.SKIP, validation_split_ratio=0.0)
        assert len(report.train) == 5
        return
    (problem,) = problems_of(check, model, spec, on_bad_row=OnBadRow.SKIP)
    assert problem.code == "MENS-P022"
    assert "0.25 (2 of 8 rows)" in problem.what
    assert "--qlora-max-skip-rate" in problem.fix


def test_rows_that_are_too_long_or_teach_nothing_count_as_skipped(
    check: Check, make_model: MakeModel, data_dir: Path
) -> None:
    rows = [
        {"prompt": "a", "response": "b"},
        {"prompt": "a" * 99, "response": "b"},
        {"prompt": "a", "response": "b" * 99},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (data_dir / "train.jsonl").write_text(text, encoding="utf-8")
    spec = QloraSpec(graph=QloraGraph.PROXY, max_skip_rate=0.5)
    changes = {"on_bad_row": OnBadRow.SKIP, "on_long_row": OnLongRow.SKIP, "seq_len": 64}
    (problem,) = problems_of(check, make_model(), spec, **changes)
    assert "(2 of 3 rows)" in problem.what
    changes["on_long_row"] = OnLongRow.TRUNCATE
    shutil.rmtree(data_dir.parent / "model-llama")
    assert len(check(make_model(), spec, **changes).train) == 2


def test_the_width_of_the_loss_is_a_property_of_the_rows(
    check: Check, make_model: MakeModel
) -> None:
    model = make_model()
    spec = QloraSpec(graph=QloraGraph.PROXY, ce_last_k=3)
    narrow, whole = check(model, spec), check(model, QloraSpec())
    assert {row.n_supervised for row in narrow.train} == {3}
    assert {row.n_supervised for row in check(model).train} == {1}
    assert min(row.n_supervised for row in whole.train) > 3
    assert narrow.facts.supervised_tokens == 3 * 8
    assert narrow.facts.tokens == whole.facts.tokens


def test_the_digest_of_headers_covers_every_tensor_that_is_there(
    check: Check, make_model: MakeModel
) -> None:
    model = make_model()
    before = check(model).digests["base_headers"]
    keys = [key.theirs for key in tensor_keys(check(model).inventory.config) if key.required]
    shutil.rmtree(model)
    make_model(only=keys[:-1])
    assert check(model).digests["base_headers"] != before
