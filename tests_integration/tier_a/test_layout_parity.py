"""ChatML and the plain layout on a base's own tokenizer, against transformers, and `auto`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs vox-populi[mens-train]")

from transformers import AutoTokenizer

from tests_integration.tier_a.chat_tokenizers import CONTROLS, KINDS, write_folder
from vox_populi.data.control_text import ControlText
from vox_populi.data.supervision import encode_prompt, encode_record, end_of_answer_id, layout_of
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ModelError
from vox_populi.hf.hf_tokenizer import load_hf_tokenizer
from vox_populi.plan.template_choice import choose_template
from vox_tensor.chat_markup import render_chatml
from vox_tensor.records import IGNORE_INDEX, EncodedRow, Message, Role, TrainingRecord
from vox_tensor.tokenizer import TextTokenizer

HERE = Path(__file__).parent / "chat_templates"
LAYOUTS = (ChatTemplate.CHATML, ChatTemplate.PLAIN)
TALKS = (
    (Message(Role.USER, "What is it?"), Message(Role.ASSISTANT, "An answer.")),
    (
        Message(Role.SYSTEM, "\n\nBe brief. "),
        Message(Role.USER, " leading and trailing  "),
        Message(Role.ASSISTANT, "\nZażółć 東京 👋🏽"),
        Message(Role.USER, "[INST] x = 1\n\tdef f(x)"),
        Message(Role.ASSISTANT, "  return x\n\n"),
    ),
    (Message(Role.USER, "x"), Message(Role.ASSISTANT, "")),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@cache
def without_template(root: Path, kind: str) -> Path:
    folder = write_folder(root / kind, kind, "")
    (folder / "chat_template.jinja").unlink()
    return folder


@cache
def transformers_of(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def chosen(
    folder: Path, template: ChatTemplate, control_text: ControlText = ControlText.TEXT
) -> tuple[TextTokenizer, TextPolicy]:
    tokenizer = load_hf_tokenizer(folder)
    asked = TextPolicy(template=template, on_control_text=control_text)
    return tokenizer, choose_template(asked, folder, tokenizer)[0]


def text_of(talk: Sequence[Message], template: ChatTemplate, end: str) -> str:
    """The whole conversation, as a program that knows nothing of pieces writes it."""
    if template is ChatTemplate.CHATML:
        return render_chatml(talk)
    ends = {Role.ASSISTANT: end}
    return "\n".join(each.content + ends.get(each.role, "") for each in talk)


def learned_text(theirs: Any, row: EncodedRow) -> str:
    ids = [each for each in row.labels if each != IGNORE_INDEX]
    return str(theirs.decode(ids)).replace(" ", "").replace("▁", "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", LAYOUTS)
@pytest.mark.parametrize("talk", TALKS)
def test_a_row_is_the_whole_text_with_bos_exactly_as_the_tokenizer_adds_it(
    root: Path, kind: str, template: ChatTemplate, talk: Sequence[Message]
) -> None:
    folder = without_template(root, kind)
    theirs = transformers_of(folder)
    tokenizer, policy = chosen(folder, template)
    row = encode_record(TrainingRecord(messages=tuple(talk), line=1), tokenizer, policy)
    expected = theirs(text_of(talk, template, theirs.eos_token)).input_ids
    assert list(row.ids) == expected
    assert list(row.ids).count(theirs.bos_token_id) == int(kind != "byte_level")
    end = "<|im_end|>" if template is ChatTemplate.CHATML else theirs.eos_token
    answers = [each.content + end for each in talk if each.role is Role.ASSISTANT]
    assert end_of_answer_id(tokenizer, policy) == theirs.convert_tokens_to_ids(end)
    # A token across a border belongs to the answer, so a line end before one can be learned too.
    assert learned_text(theirs, row).replace("\n", "") == "".join(answers).replace(" ", "").replace(
        "\n", ""
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", LAYOUTS)
def test_a_prompt_is_the_beginning_of_the_row(
    root: Path, kind: str, template: ChatTemplate
) -> None:
    tokenizer, policy = chosen(without_template(root, kind), template)
    talk = TALKS[0]
    row = encode_record(TrainingRecord(messages=tuple(talk), line=1), tokenizer, policy)
    prompt = encode_prompt(talk[:1], tokenizer, policy)
    assert list(row.ids[: len(prompt)]) == prompt
    assert set(row.labels[: len(prompt)]) == {IGNORE_INDEX}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", LAYOUTS)
def test_typed_control_tokens_stay_text(root: Path, kind: str, template: ChatTemplate) -> None:
    folder = without_template(root, kind)
    theirs = transformers_of(folder)
    tokenizer, policy = chosen(folder, template)
    controls = {theirs.convert_tokens_to_ids(each) for each in CONTROLS}

    def controls_of(talk: Sequence[Message]) -> list[int]:
        row = encode_record(TrainingRecord(messages=tuple(talk), line=1), tokenizer, policy)
        return [each for each in row.ids if each in controls]

    plain = controls_of(TALKS[0])
    for control in CONTROLS:
        if control == "<unk>":
            continue
        forged = (Message(Role.USER, f"a{control}b"), Message(Role.ASSISTANT, control))
        assert controls_of(forged) == plain, control


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", LAYOUTS)
def test_kept_control_tokens_are_those_of_transformers(
    root: Path, kind: str, template: ChatTemplate
) -> None:
    folder = without_template(root, kind)
    theirs = transformers_of(folder)
    tokenizer, policy = chosen(folder, template, ControlText.KEEP)
    assert policy.layout is not None
    assert policy.layout.keeps_control_text
    talk = (Message(Role.USER, "a<|end|>b <|im_start|>"), Message(Role.ASSISTANT, "c<|im_end|>d"))
    row = encode_record(TrainingRecord(messages=talk, line=1), tokenizer, policy)
    assert list(row.ids) == theirs(text_of(talk, template, theirs.eos_token)).input_ids
    assert theirs.convert_tokens_to_ids("<|im_start|>") in row.ids
    text = TrainingRecord(messages=(Message(Role.ASSISTANT, "x</s>y"),), line=1, is_text=True)
    end = theirs.eos_token
    assert list(encode_record(text, tokenizer, policy).ids) == theirs(f"x</s>y{end}").input_ids


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_is_what_is_used(root: Path, kind: str) -> None:
    folder = without_template(root, kind)
    theirs = transformers_of(folder)
    tokenizer, policy = chosen(folder, ChatTemplate.PLAIN)
    layout = layout_of(tokenizer, policy)
    assert layout is not None
    assert (layout.template, layout.end.id) == (None, theirs.eos_token_id)
    assert layout.end.text == theirs.eos_token
    if kind == "byte_level":
        assert layout.bos is None
    else:
        assert layout.bos is not None
        assert (layout.bos.id, layout.bos.text) == (theirs.bos_token_id, theirs.bos_token)


@pytest.mark.parametrize("name", ["llama3", "chatml_default_system", "mistral", "gemma"])
def test_auto_is_the_bases_own_template(root: Path, name: str) -> None:
    template = (HERE / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")
    folder = write_folder(root / f"auto-{name}", "byte_level_with_bos", template)
    tokenizer, policy = chosen(folder, ChatTemplate.AUTO)
    assert policy.template is ChatTemplate.MODEL
    talk = TALKS[0]
    row = encode_record(TrainingRecord(messages=tuple(talk), line=1), tokenizer, policy)
    turns = [{"role": each.role.value, "content": each.content} for each in talk]
    served = transformers_of(folder).apply_chat_template(turns, return_dict=True)["input_ids"]
    assert list(row.ids) == list(served)
    assert any(label != IGNORE_INDEX for label in row.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_auto_without_a_template_is_chatml_where_the_vocabulary_has_both_markers(
    root: Path, kind: str, tmp_path: Path
) -> None:
    folder = without_template(root, kind)
    assert chosen(folder, ChatTemplate.AUTO)[1].template is ChatTemplate.CHATML
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("<|im_start|>", "<|other|>"), encoding="utf-8")
    policy = chosen(tmp_path, ChatTemplate.AUTO)[1]
    assert policy.template is ChatTemplate.PLAIN
    assert policy.layout == chosen(folder, ChatTemplate.PLAIN)[1].layout


def test_a_base_without_any_end_is_refused(root: Path, tmp_path: Path) -> None:
    folder = without_template(root, "prepended")
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(
        text.replace("<|im_end|>", "<|other|>"), encoding="utf-8"
    )
    tokenizer = load_hf_tokenizer(tmp_path)
    for template in (ChatTemplate.AUTO, *LAYOUTS):
        with pytest.raises(ModelError, match="MENS-H115"):
            choose_template(TextPolicy(template=template), tmp_path, tokenizer)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}', encoding="utf-8")
    assert chosen(tmp_path, ChatTemplate.AUTO)[1].template is ChatTemplate.PLAIN


def test_an_end_among_the_words_of_the_vocabulary_is_one_token(root: Path, tmp_path: Path) -> None:
    folder = without_template(root, "byte_level")
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = definition["added_tokens"]
    definition["added_tokens"] = [each for each in added if each["content"] != "<|endoftext|>"]
    definition["model"]["vocab"]["<|endoftext|>"] = 999
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"eos_token": "<|endoftext|>"}', encoding="utf-8"
    )
    tokenizer, policy = chosen(tmp_path, ChatTemplate.PLAIN)
    row = encode_record(TrainingRecord(messages=TALKS[0], line=1), tokenizer, policy)
    assert (row.ids[-1], row.labels[-1]) == (999, 999)
    assert 999 not in row.ids[:-1]
