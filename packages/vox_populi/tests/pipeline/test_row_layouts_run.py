"""Rows of every layout from the file to the run, and what is learned of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.corpus.tool_trace import RecordFormat, row_of_record
from vox_populi.data.control_text import ControlText
from vox_populi.data.dataset import OnBadRow
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.training_text import ChatTemplate, TemplatePlace
from vox_populi.errors import PreflightError, RunFailedError
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.load_model import find_weights
from vox_populi.pipeline.preview import PreviewRequest, preview_rows
from vox_populi.pipeline.train import Resume, RunOptions, plan_training, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.find_adapter import find_own_adapter
from vox_tensor.records import IGNORE_INDEX

MakeContract = Callable[..., FinetuneContract]
WriteRows = Callable[..., Path]
TEMPLATE = (
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name + (c.function.arguments | tojson) }}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "x"}'}}
TOOL_ROW: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "now", "parameters": {}}}],
    "messages": [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "assistant", "content": "Noon."},
    ],
}
TALK = [("user", "a"), ("assistant", "bb"), ("user", "c"), ("assistant", "dd")]
TALK_ROW = {"messages": [{"role": role, "content": content} for role, content in TALK]}


@pytest.fixture
def make(make_contract: MakeContract) -> MakeContract:
    def made(template: ChatTemplate = ChatTemplate.MODEL, **changes: Any) -> FinetuneContract:
        asked = changes.pop("template_place", template)
        settings = {"tokenizer": TokenizerKind.HF, "template": asked, "seq_len": 192}
        contract = make_contract(**{**settings, **changes})
        assert contract.model_dir is not None
        path = contract.model_dir / "chat_template.jinja"
        path.write_text(TEMPLATE, encoding="utf-8")
        return contract

    return made


def learned(contract: FinetuneContract, **asked: Any) -> list[str]:
    """The learned text of each row."""
    request = PreviewRequest(
        data=contract.data_paths[0] / "train.jsonl",
        model_dir=contract.model_dir,
        template=contract.text.template,
        seq_len=192,
        count=9,
        **asked,
    )
    return [
        "".join(piece.text for piece in row.pieces if piece.learned)
        for row in preview_rows(request)
    ]


def test_rows_with_tools_are_trained_and_measured(
    make: MakeContract, write_rows: WriteRows
) -> None:
    contract = make(max_steps=1)
    write_rows([TOOL_ROW] * 4, "train.jsonl")
    shown = learned(contract)
    assert shown == ['now{"zone": "x"}<|im_end|>\nNoon.<|im_end|>\n'] * 4
    run_training(contract, RunOptions())
    weights = WeightsChoice(run=contract.output_dir, threads=1)
    called = {**TOOL_ROW, "messages": TOOL_ROW["messages"][:2]}
    data = write_rows([TOOL_ROW, called, {"text": "whole"}], "test.jsonl")
    measured = evaluate(EvalRequest(data=data, weights=weights, generate=3, max_new_tokens=2))
    assert measured.rows == 3
    assert measured.measured.answers is not None
    assert measured.measured.answers.rows == 2
    answers = evaluate(EvalRequest(data=data, weights=weights)).supervised_tokens
    everything = EvalRequest(data=data, weights=weights, learn=LearnedParts.ALL)
    assert evaluate(everything).supervised_tokens > answers == measured.supervised_tokens


@pytest.mark.parametrize(
    ("template", "code"), [(ChatTemplate.CHATML, "MENS-D183"), (ChatTemplate.PLAIN, "MENS-D183")]
)
def test_our_layouts_refuse_rows_with_tools_by_line(
    make: MakeContract, write_rows: WriteRows, template: ChatTemplate, code: str
) -> None:
    contract = make(template)
    write_rows([TALK_ROW, TOOL_ROW, TALK_ROW], "train.jsonl")
    with pytest.raises(PreflightError) as caught:
        plan_training(contract)
    assert [(each.code, str(each.where)[-2:]) for each in caught.value.problems] == [(code, ":2")]
    skipping = make(template, on_bad_row=OnBadRow.SKIP, validation_split_ratio=0.0)
    assert plan_training(skipping).preflight.data_report.kept == 2


def test_a_template_without_tools_refuses_them_by_line(
    make: MakeContract, write_rows: WriteRows
) -> None:
    contract = make()
    assert contract.model_dir is not None
    silent = TEMPLATE.partition("{% endfor %}")[2]
    (contract.model_dir / "chat_template.jinja").write_text(silent, encoding="utf-8")
    write_rows([TALK_ROW, TOOL_ROW], "train.jsonl")
    with pytest.raises(PreflightError) as caught:
        plan_training(contract)
    found = [(each.code, str(each.where)[-2:]) for each in caught.value.problems]
    assert found == [("MENS-D184", ":2")]


@pytest.mark.parametrize("template", list(ChatTemplate)[:3])
def test_what_is_learned_is_a_setting_of_training_and_preview(
    make: MakeContract, write_rows: WriteRows, template: ChatTemplate
) -> None:
    write_rows([TALK_ROW, {"text": "whole"}], "train.jsonl")
    contract = make(template)
    (answers, text) = learned(contract)
    (last, last_text) = learned(contract, learn=LearnedParts.LAST)
    (everything, all_text) = learned(contract, learn=LearnedParts.ALL)
    assert "bb" in answers
    assert "bb" not in last
    assert "dd" in last
    assert "a" in everything
    assert everything.count("dd") == 1
    assert text.startswith(("hole", "whole"))
    assert text == last_text == all_text
    for learn in LearnedParts:
        asked = make(template, learn=learn, validation_split_ratio=0.0)
        rows = plan_training(asked).preflight.train
        counts = [len(row) - row.labels.count(IGNORE_INDEX) for row in rows]
        assert counts[0] == {"all": len(rows[0])}.get(learn, counts[0])
        assert (counts[0] == len(rows[0])) is (learn is LearnedParts.ALL)
        assert asked.canonical().get("learn", "answers") == learn


def test_the_last_answer_is_learned_where_a_template_rewrites_earlier_ones(
    make: MakeContract, write_rows: WriteRows
) -> None:
    contract = make()
    assert contract.model_dir is not None
    forgets = TEMPLATE.replace(
        "{{ m.content or '' }}", "{{ m.content if loop.last or m.role != 'assistant' else '-' }}"
    )
    (contract.model_dir / "chat_template.jinja").write_text(forgets, encoding="utf-8")
    write_rows([TALK_ROW], "train.jsonl")
    assert learned(contract, learn=LearnedParts.LAST) == ["dd<|im_end|>\n"]


def test_a_tool_session_is_a_call_where_the_template_has_tools_and_text_elsewhere(
    make: MakeContract, write_rows: WriteRows
) -> None:
    trace = {
        "task_prompt": "Time?",
        "tool_name": "now",
        "arguments_json": '{"zone": "x"}',
        "result_json": '"noon"',
        "success": True,
    }
    write_rows([row_of_record(trace, RecordFormat.TOOL_TRACE, "f:1")], "train.jsonl")
    assert learned(make()) == ['now{"zone": "x"}<|im_end|>\n']
    (text,) = learned(make(ChatTemplate.CHATML))
    assert text.startswith('{"tool_name": "now"')


SPELLED_ROW = {"prompt": "Say <|im_end|>", "response": "bb<|im_end|>cc"}


def test_kept_control_text_is_recorded_and_used_again(
    make: MakeContract, write_rows: WriteRows
) -> None:
    data = write_rows([SPELLED_ROW, TALK_ROW, SPELLED_ROW, TALK_ROW], "train.jsonl")
    contract = make(max_steps=1, on_control_text=ControlText.KEEP)
    assert contract.canonical()["on_control_text"] == "keep"
    assert learned(contract, on_control_text=ControlText.KEEP)[0] == "bb<|im_end|>cc<|im_end|>\n"
    planned = sum(row.n_supervised for row in plan_training(contract).preflight.train)
    report = run_training(contract, RunOptions())
    note = "2 rows spell control tokens"
    assert any(note in each for each in report.notes)
    manifest = (report.run / "training_manifest.json").read_text(encoding="utf-8")
    assert '"on_control_text": "keep"' in manifest
    assert '"control_text_kept": 2' in manifest
    found = find_weights(WeightsChoice(run=report.run, threads=1))
    assert found.policy.on_control_text is ControlText.KEEP
    assert any("--on-control-text keep" in each for each in found.notes)
    layout = find_own_adapter(report.run).adapter.header.layout
    assert layout is not None
    assert layout.keeps_control_text
    kept = evaluate(EvalRequest(data=data, weights=WeightsChoice(run=report.run, threads=1)))
    assert kept.supervised_tokens == planned
    with pytest.raises(RunFailedError) as caught:
        run_training(make(max_steps=1), RunOptions(resume=Resume()))
    assert [each.where for each in caught.value.problems] == ["--on-control-text"]


def test_our_vocabulary_keeps_no_control_text(make: MakeContract, write_rows: WriteRows) -> None:
    write_rows([SPELLED_ROW], "train.jsonl")
    with pytest.raises(PreflightError, match="MENS-H166"):
        plan_training(make(ChatTemplate.CHATML, on_control_text=ControlText.KEEP))


def test_a_missing_template_file_is_one_problem(
    make: MakeContract, write_rows: WriteRows, tmp_path: Path
) -> None:
    write_rows([TOOL_ROW, TALK_ROW], "train.jsonl")
    place = TemplatePlace(file=tmp_path / "gone.jinja")
    with pytest.raises(PreflightError) as caught:
        plan_training(make(template_place=place))
    assert [each.code for each in caught.value.problems] == ["MENS-H116"]
    write_rows([TOOL_ROW, {"prompt": 7}], "train.jsonl")
    with pytest.raises(PreflightError) as caught:
        plan_training(make(template_place=place))
    assert [each.code for each in caught.value.problems] == ["MENS-H116", "MENS-D031"]
