"""`--template model`: the base's own template from the first row to the merged folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.supervision import encode_prompt
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ArtifactError, ModelError, PreflightError
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.generate import GenerateRequest, Prompt, generate
from vox_populi.pipeline.load_model import find_weights
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.preview import PreviewRequest, preview_rows
from vox_populi.pipeline.train import RunOptions, TrainReport, plan_training, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.find_adapter import find_own_adapter
from vox_tensor.errors import VoxError
from vox_tensor.records import Message, Role

pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")

MakeContract = Callable[..., FinetuneContract]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM = "<|im_start|>system\nBe brief.<|im_end|>\n"


@pytest.fixture
def make(make_contract: MakeContract) -> MakeContract:
    """A request for the base's own template, which puts a system message in front."""

    def made(template: str | None = TEMPLATE, **changes: Any) -> FinetuneContract:
        kind = changes.pop("template_kind", ChatTemplate.MODEL)
        settings = {"tokenizer": TokenizerKind.HF, "template": kind, "seq_len": 96}
        contract = make_contract(**{**settings, **changes})
        assert contract.model_dir is not None
        if template is not None:
            write_template(contract.model_dir, template)
        return contract

    return made


def write_template(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def trained(contract: FinetuneContract) -> TrainReport:
    return run_training(contract, RunOptions())


def answer(weights: WeightsChoice) -> tuple[int, ...]:
    request = GenerateRequest(weights=weights, prompts=(Prompt("Say one."),), max_new_tokens=6)
    (result,) = generate(request)
    return tuple(result.ids)


def code_of(error: VoxError) -> set[str]:
    return {problem.code for problem in error.problems}


def test_rows_are_the_templates_text_in_training_and_preview(make: MakeContract) -> None:
    contract = make()
    rows = list(plan_training(contract).preflight.train)
    shown = list(
        preview_rows(
            PreviewRequest(
                data=contract.data_paths[0] / "train.jsonl",
                model_dir=contract.model_dir,
                template=ChatTemplate.MODEL,
                seq_len=96,
                count=99,
            )
        )
    )
    assert [(row.ids, row.labels) for row in shown] == [(row.ids, row.labels) for row in rows]
    assert shown[0].text == (
        f"{SYSTEM}<|im_start|>user\nSay one.<|im_end|>\n"
        "<|im_start|>assistant\none! one! one! <|im_end|>\n"
    )
    learned = [piece.text for piece in shown[0].pieces if piece.learned]
    assert learned == ["one! one! one! ", "<|im_end|>", "\n"]


def test_a_row_that_is_cut_shows_what_is_left(make: MakeContract) -> None:
    contract = make()
    request = PreviewRequest(
        data=contract.data_paths[0] / "train.jsonl",
        model_dir=contract.model_dir,
        template=ChatTemplate.MODEL,
        seq_len=50,
        count=1,
    )
    (row,) = preview_rows(request)
    assert len(row.ids) == 50
    assert f"{SYSTEM}<|im_start|>user\nSay one.<|im_end|>\n<|im_start|>assistant\none!".startswith(
        row.text
    )


def test_a_run_is_used_and_merged_with_the_template_it_was_trained_with(
    make: MakeContract, tmp_path: Path
) -> None:
    contract = make(learning_rate=0.1, epochs=20)
    report = trained(contract)
    run = WeightsChoice(run=report.run, threads=1)
    ids = answer(run)
    score = evaluate(EvalRequest(weights=run, data=contract.data_paths[0] / "train.jsonl"))
    chatml = WeightsChoice(
        run=report.run, threads=1, template=ChatTemplate.CHATML, force_template=True
    )
    plain = evaluate(EvalRequest(weights=chatml, data=contract.data_paths[0] / "train.jsonl"))
    assert score.loss < plain.loss
    output = tmp_path / "merged"
    merge_weights(MergeRequest(checkpoint=report.run, output=output))
    assert (output / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE
    assert answer(WeightsChoice(model_dir=output, threads=1)) == ids
    manifest = json.loads((report.run / "training_manifest.json").read_text(encoding="utf-8"))
    assert manifest["template"] == "model"
    receipt = json.loads((output / "merge_receipt.json").read_text(encoding="utf-8"))
    header = find_own_adapter(report.run / "model_final.bin", None).adapter.header
    assert header.layout is not None
    recorded = header.layout.as_json()
    assert recorded["template"] == {"text": TEMPLATE, "tokens": {}}
    assert recorded["end"] == {"id": 4, "text": "<|im_end|>"}
    assert manifest["layout"] == receipt["adapter"]["layout"] == recorded


def prompt_of(weights: WeightsChoice) -> list[int]:
    found = find_weights(weights)
    return encode_prompt((Message(Role.USER, "Say one."),), found.tokenizer, found.policy)


def test_another_template_in_the_folder_is_refused_and_the_recorded_one_is_used(
    make: MakeContract,
) -> None:
    contract = make()
    report = trained(contract)
    assert contract.model_dir is not None
    run = WeightsChoice(run=report.run, threads=1)
    forced = replace(run, force_template=True)
    prompt = prompt_of(run)
    other = TEMPLATE.replace("Be brief.", "Be long.")
    write_template(contract.model_dir, other)
    for weights in (run, replace(run, template=ChatTemplate.MODEL)):
        with pytest.raises(ArtifactError) as caught:
            find_weights(weights)
        assert code_of(caught.value) < {"MENS-A030", "MENS-A150"}
    with pytest.raises(ArtifactError):
        find_weights(replace(run, template=ChatTemplate.CHATML))
    assert prompt_of(forced) == prompt
    assert prompt_of(replace(forced, template=ChatTemplate.MODEL)) != prompt
    assert any("chat_template.jinja" in note for note in find_weights(forced).notes)
    (contract.model_dir / "chat_template.jinja").unlink()
    assert prompt_of(run) == prompt
    write_template(contract.model_dir, TEMPLATE)
    assert prompt_of(run) == prompt


def test_an_adapter_that_records_no_layout_is_used_with_the_folders_template(
    make: MakeContract,
) -> None:
    contract = make()
    report = trained(contract)
    assert contract.model_dir is not None
    run = WeightsChoice(run=report.run, threads=1)
    prompt = prompt_of(run)
    file = report.run / "model_final.bin"
    adapter = read_adapter_bin(file)
    write_adapter_bin(file, replace(adapter.header, layout=None), adapter.tensors)
    assert prompt_of(run) == prompt
    write_template(contract.model_dir, TEMPLATE.replace("Be brief.", "Be long."))
    with pytest.raises(ArtifactError) as caught:
        find_weights(run)
    assert code_of(caught.value) == {"MENS-A030"}


def test_a_merged_model_withholds_the_system_prompt_and_says_so(
    make: MakeContract, tmp_path: Path
) -> None:
    report = trained(make(system_prompt="Be brief."))
    output = tmp_path / "merged"
    merge_weights(MergeRequest(checkpoint=report.run, output=output))
    merged = WeightsChoice(model_dir=output, threads=1)
    with pytest.raises(ArtifactError) as caught:
        find_weights(merged)
    assert code_of(caught.value) == {"MENS-A130"}
    prompt = prompt_of(WeightsChoice(run=report.run, threads=1))
    assert prompt_of(replace(merged, system_prompt="Be brief.")) == prompt


def test_a_base_without_a_template_or_with_another_tokenizer_is_refused(
    make: MakeContract,
) -> None:
    contract = make(template=None)
    with pytest.raises(PreflightError) as caught:
        plan_training(contract)
    assert code_of(caught.value) == {"MENS-H113"}
    with pytest.raises(PreflightError) as caught:
        plan_training(make(tokenizer=TokenizerKind.VOX))
    assert code_of(caught.value) == {"MENS-H114"}
    with pytest.raises(ModelError) as unusable:
        answer(WeightsChoice(template=ChatTemplate.MODEL, threads=1))
    assert code_of(unusable.value) == {"MENS-H113"}


def rename_tokens(folder: Path, **names: str) -> None:
    """Give the vocabulary other control tokens, so that it is not ours any more."""
    file = folder / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    for old, new in names.items():
        text = text.replace(f"<|{old}|>", f"<|{new}|>")
    file.write_text(text, encoding="utf-8")


def test_auto_trains_what_the_base_has_and_records_it_by_name(make: MakeContract) -> None:
    own = plan_training(make(template_kind=ChatTemplate.AUTO))
    assert own.contract.text.template is ChatTemplate.MODEL
    assert own.contract.canonical() == plan_training(make()).contract.canonical()
    assert [note for note in own.notes if note.startswith("template: ")] == [
        "template: the model's own, chat_template.jinja (--template)."
    ]
    assert own.plan.objective_note == "burn_lora_masked_model_ce"
    folder = own.contract.model_dir
    assert folder is not None
    (folder / "chat_template.jinja").unlink()
    chatml = plan_training(make(template=None, template_kind=ChatTemplate.AUTO))
    assert chatml.contract.text.template is ChatTemplate.CHATML
    assert chatml.preflight.layout is None
    assert sum(note.startswith("template: chatml") for note in chatml.notes) == 1
    rename_tokens(folder, im_start="turn", endoftext="stop")
    plain = plan_training(make(template=None, template_kind=ChatTemplate.AUTO))
    assert plain.contract.text.template is ChatTemplate.PLAIN
    assert plain.preflight.layout is not None
    assert plain.preflight.layout.end.text == "<|stop|>"
    assert sum(note.startswith("template: plain") for note in plain.notes) == 1


def test_a_run_on_a_foreign_vocabulary_is_used_with_its_recorded_borders(
    make: MakeContract,
) -> None:
    contract = make(template=None, template_kind=ChatTemplate.AUTO)
    assert contract.model_dir is not None
    rename_tokens(contract.model_dir, unk="begin")
    report = trained(contract)
    run = WeightsChoice(run=report.run, threads=1)
    found = find_weights(run)
    assert found.policy.layout is not None
    assert found.policy.layout.end.text == "<|im_end|>"
    assert prompt_of(replace(run, template=ChatTemplate.CHATML)) == prompt_of(run)
    file = report.run / "model_final.bin"
    adapter = read_adapter_bin(file)
    pieces = TextPolicy(template=ChatTemplate.CHATML)
    older = replace(adapter.header, layout=None, template_digest=pieces.digest)
    write_adapter_bin(file, older, adapter.tensors)
    assert find_weights(run).policy.layout is None


def test_a_base_that_names_no_end_is_refused_before_training_and_still_answers(
    make: MakeContract,
) -> None:
    contract = make(template=None, template_kind=ChatTemplate.AUTO)
    folder = contract.model_dir
    assert folder is not None
    rename_tokens(folder, im_end="other")
    config = folder / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"eos_token_id": 2', '"eos_token_id": null'),
        encoding="utf-8",
    )
    with pytest.raises(PreflightError) as caught:
        plan_training(contract)
    assert code_of(caught.value) == {"MENS-H115"}
    assert len(answer(WeightsChoice(model_dir=folder, threads=1))) == 6


def test_rows_that_the_template_refuses_are_problems_of_their_lines(make: MakeContract) -> None:
    two = "{% if 'two' in messages[0].content %}{{ raise_exception('no') }}{% endif %}"
    with pytest.raises(PreflightError) as caught:
        plan_training(make(template=TEMPLATE + two))
    assert code_of(caught.value) == {"MENS-D140"}
    assert [str(problem.where)[-2:] for problem in caught.value.problems] == [":2"]


def test_a_template_that_prints_the_date_makes_the_same_rows_on_every_day(
    make: MakeContract,
) -> None:
    dated = TEMPLATE.replace("Be brief.", "{{ strftime_now('%d %b %Y') }}")
    planned = plan_training(make(template=dated))
    assert any("2024-07-26" in note for note in planned.notes)
    assert "2024-07-26" not in "".join(plan_training(make()).notes)


def test_rewritten_answers_are_refused_or_the_last_one_is_learned(
    make: MakeContract, write_rows: Callable[..., Path]
) -> None:
    forgets = TEMPLATE.replace(
        "{{ m.content }}", "{{ m.content if loop.last or m.role != 'assistant' else '-' }}"
    )
    make(template=forgets)
    turns = [("user", "a"), ("assistant", "bb"), ("user", "c"), ("assistant", "dd")]
    messages = [{"role": role, "content": content} for role, content in turns]
    write_rows([{"messages": messages}] * 3)
    with pytest.raises(PreflightError) as caught:
        plan_training(make(template=forgets))
    assert code_of(caught.value) == {"MENS-D143"}
    contract = make(template=forgets, history=History.LAST)
    request = PreviewRequest(
        data=contract.data_paths[0] / "train.jsonl",
        model_dir=contract.model_dir,
        template=ChatTemplate.MODEL,
        history=History.LAST,
        count=1,
    )
    (shown,) = preview_rows(request)
    planned = plan_training(contract).preflight.train[0]
    assert (shown.ids, shown.labels) == (planned.ids, planned.labels)
    assert [piece.text for piece in shown.pieces if piece.learned] == ["dd", "<|im_end|>", "\n"]
    split = plan_training(make(template=forgets, history=History.SPLIT)).preflight.train
    rows = list(preview_rows(replace(request, history=History.SPLIT, count=99)))
    assert len(rows) == len(split) == 6
    said = ["".join(piece.text for piece in row.pieces if piece.learned) for row in rows]
    assert said == ["bb<|im_end|>\n", "dd<|im_end|>\n"] * 3
    assert [(row.ids, row.labels) for row in rows] == [(row.ids, row.labels) for row in split]
    assert [split[i].ids for i in (3, 0, 5)] == [rows[i].ids for i in (3, 0, 5)]
    assert ["-<|im_end|>" in row.text for row in rows[:2]] == [False, True]


def test_an_evaluation_measures_each_answer_of_a_conversation_as_it_was_trained(
    make: MakeContract, write_rows: Callable[..., Path]
) -> None:
    contract = make(template=None, template_kind=ChatTemplate.CHATML)
    turns = [("user", "a"), ("assistant", "bb"), ("user", "c"), ("assistant", "dd")]
    messages = [{"role": role, "content": content} for role, content in turns]
    data = write_rows([{"messages": messages}] * 2, "rows.jsonl")
    weights = WeightsChoice(model_dir=contract.model_dir, threads=1)
    whole = evaluate(EvalRequest(weights=weights, data=data))
    split = evaluate(
        EvalRequest(weights=weights, data=data, history=History.SPLIT, generate=9, max_new_tokens=2)
    )
    assert (whole.rows, split.rows) == (2, 4)
    assert split.loss == pytest.approx(whole.loss, rel=1e-4)
    assert [each.answers.rows for each in split.measured.sources if each.answers] == [2]
