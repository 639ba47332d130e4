"""Tier A: what a run answers, other programs answer too with the files it is merged into, and stop.

The base ends its texts with another token than the training, and has another template or none: a
folder with the base's files would never stop.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests_integration.tier_a.chat_tokenizers import write_folder
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate
from vox_populi.export.consumers import Consumer
from vox_populi.merge.choices import MergeFormat
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice

ANSWERS = {"Say one.": "one! one!", "What is the code?": "a naïve é"}
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n"
    "{{ m['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n{% endif %}"
)
MOST = 24


@dataclass(frozen=True)
class Case:
    """A layout to train with, on a base with a template."""

    template: ChatTemplate
    base_template: str
    end: str


CASES = {
    "chatml on another template": Case(ChatTemplate.CHATML, HEADERS, "<|im_end|>"),
    "plain": Case(ChatTemplate.PLAIN, HEADERS, "<|endoftext|>"),
    "the base's own": Case(ChatTemplate.MODEL, HEADERS, "<|eot_id|>"),
}


@dataclass(frozen=True)
class Run:
    """A finished run, its merged folder, and its greedy answers."""

    case: Case
    folder: Path
    merged: Path
    base: Path
    answers: dict[str, str]


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    case, folder = CASES[request.param], tmp_path_factory.mktemp("served")
    base, data = folder / "base", folder / "data"
    write_base(base, case.base_template)
    data.mkdir()
    rows = [{"prompt": p, "response": r} for p, r in ANSWERS.items()]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (data / "train.jsonl").write_text(lines, encoding="utf-8")
    contract = FinetuneContract.of(
        model_dir=base,
        data_dir=data,
        output_dir=folder / "run",
        tokenizer=TokenizerKind.HF,
        template=case.template,
        seq_len=128,
        epochs=120,
        batch_size=2,
        grad_accum=1,
        learning_rate=0.004,
        alpha=32.0,
        rank=16,
    )
    report = run_training(contract, RunOptions())
    weights = WeightsChoice(run=report.run, threads=1)
    prompts = tuple(Prompt(question) for question in ANSWERS)
    asked = GenerateRequest(weights=weights, prompts=prompts, max_new_tokens=MOST)
    answers = {
        question: made.text.strip() for question, made in zip(ANSWERS, generate(asked), strict=True)
    }
    assert answers == ANSWERS, "the run must have learned its rows"
    merged = folder / "merged"
    merge_weights(MergeRequest(checkpoint=report.run, output=merged, output_format=MergeFormat.HF))
    return Run(case, report.run, merged, base, answers)


def write_base(folder: Path, template: str) -> None:
    """An untrained model whose texts end with `<|endoftext|>`."""
    write_folder(folder, "byte_level", template)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


def answer(model: Any, folder: Path, question: str) -> str:
    """Greedy, with the folder's own settings; fails if it does not end by itself."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    given = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    made = model.generate(**given, max_new_tokens=MOST, do_sample=False, pad_token_id=0)
    ids = made[0][given["input_ids"].shape[1] :]
    assert len(ids) < MOST, "it must stop"
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def test_transformers_answers_with_the_merged_folder_s_own_settings(run: Run) -> None:
    model = AutoModelForCausalLM.from_pretrained(run.merged, dtype=torch.float32)
    found = {question: answer(model, run.merged, question) for question in ANSWERS}
    assert found == run.answers
    settings = json.loads((run.merged / "generation_config.json").read_text(encoding="utf-8"))
    tokenizer: Any = AutoTokenizer.from_pretrained(run.merged)
    ends = settings["eos_token_id"]
    first = ends[0] if isinstance(ends, list) else ends
    assert tokenizer.convert_ids_to_tokens(first) == run.case.end
    base_end = AutoTokenizer.from_pretrained(run.base).eos_token_id
    assert base_end in (ends if isinstance(ends, list) else [ends])


def test_we_answer_with_the_merged_folder_too(run: Run) -> None:
    weights = WeightsChoice(model_dir=run.merged, threads=1)
    prompts = tuple(Prompt(question) for question in ANSWERS)
    asked = GenerateRequest(weights=weights, prompts=prompts, max_new_tokens=MOST)
    assert [made.text.strip() for made in generate(asked)] == list(run.answers.values())


def test_peft_answers_with_the_exported_folder_alone(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "peft"
    export_adapter(ExportRequest(source=run.folder, consumer=Consumer.PEFT, output_dir=out))
    model = AutoPeftModelForCausalLM.from_pretrained(str(out), dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    question, wanted = next(iter(run.answers.items()))
    given = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    settings = json.loads((out / "generation_config.json").read_text(encoding="utf-8"))
    made = model.generate(
        **given, max_new_tokens=MOST, do_sample=False, eos_token_id=settings["eos_token_id"]
    )
    ids = made[0][given["input_ids"].shape[1] :]
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == wanted


def test_llama_cpp_s_chat_endpoint_answers_with_the_file(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="needs vox-populi[gguf]")
    pytest.importorskip("xllamacpp", reason="needs the wheel xllamacpp (llama.cpp)")
    path = Path(__file__).with_name("llama_cpp.py")
    spec = importlib.util.spec_from_file_location("llama_cpp", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    export_gguf(GgufRequest(source=run.folder, output=tmp_path / "m.gguf"))
    server = module.LlamaCpp(tmp_path / "m.gguf", 256)
    tokenizer: Any = AutoTokenizer.from_pretrained(run.merged)
    for question, wanted in run.answers.items():
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert server.laid_out(chat) == prompt
        assert server.answer(chat, MOST) == (wanted, "stop")


def test_mlx_answers_with_the_merged_folder(run: Run) -> None:
    mlx_lm = pytest.importorskip("mlx_lm", reason="needs mlx[cpu] and mlx-lm")
    model, tokenizer = mlx_lm.load(str(run.merged))
    for question, wanted in run.answers.items():
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True
        )
        parts = list(mlx_lm.stream_generate(model, tokenizer, ids, max_tokens=MOST))
        assert "".join(part.text for part in parts).strip() == wanted
        assert parts[-1].finish_reason == "stop"
