"""The small files of a folder that serves what was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.adapters.header import AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.trained_layout import TemplateSource, TokenName, TrainedLayout
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.merge.served_text import ServedFiles, served_files
from vox_tensor.lora_spec import LoraSpec

END = TokenName(7, "<|eot_id|>")
OWN = "{{ bos_token }}{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}"


def header(template: ChatTemplate = ChatTemplate.CHATML, **changes: Any) -> AdapterHeader:
    made = AdapterHeader.of_foreign(LoraSpec(rank=1, alpha=1.0), (), "base")
    digest = TextPolicy(template=template).digest
    return replace(made, template=template, template_digest=digest, **changes)


def with_template(text: str, **tokens: str) -> AdapterHeader:
    pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")
    source = TemplateSource(text=text, tokens=tokens)
    policy = TextPolicy(template=ChatTemplate.MODEL, own=ModelTemplate.of(source, "test"))
    layout = TrainedLayout(template=source, end=END)
    return replace(header(ChatTemplate.MODEL, layout=layout), template_digest=policy.digest)


class Base:
    """A base folder of which only the small files are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tokens = [{"id": 7, "content": "<|eot_id|>", "special": True}]
        self.files: dict[str, Any] = {
            "tokenizer.json": {"added_tokens": tokens},
            "tokenizer_config.json": {"eos_token": "</s>", "bos_token": "<s>"},
            "generation_config.json": {"eos_token_id": 2, "temperature": 0.6},
        }

    @property
    def inventory(self) -> ModelInventory:
        found = read_inventory(embedded_model_dir())
        return replace(found, model_dir=self.folder)

    def served(self, adapter: AdapterHeader) -> ServedFiles:
        copied: dict[str, bytes] = {}
        for name, value in self.files.items():
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            (self.folder / name).write_bytes(data)
            copied[name] = data
        return served_files(copied, adapter, self.inventory)


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path)


def content(made: ServedFiles, name: str) -> Any:
    return json.loads(made.files[name])


def changed(made: ServedFiles) -> set[str]:
    assert made.receipt is not None
    found = made.receipt["changed"]
    assert isinstance(found, dict)
    return set(found)


def test_a_base_that_already_says_so_keeps_its_bytes(base: Base) -> None:
    base.files["chat_template.jinja"] = OWN
    base.files["tokenizer_config.json"]["eos_token"] = {"content": END.text}
    base.files["generation_config.json"]["eos_token_id"] = [7, 2]
    made = base.served(with_template(OWN))
    assert changed(made) == set()
    assert made.files == {name: (base.folder / name).read_bytes() for name in base.files}
    assert made.notes == ()


def test_the_trained_end_comes_first_and_the_base_s_stay(base: Base) -> None:
    made = base.served(header(layout=TrainedLayout(end=END)))
    assert content(made, "generation_config.json") == {"eos_token_id": [7, 2], "temperature": 0.6}
    config = content(made, "tokenizer_config.json")
    assert (config["eos_token"], config["bos_token"]) == (END.text, "<s>")
    assert b"<|im_start|>" in made.files["chat_template.jinja"]
    assert END.text.encode() in made.files["chat_template.jinja"]
    assert made.files["tokenizer.json"] == (base.folder / "tokenizer.json").read_bytes()
    assert made.receipt is not None
    assert made.receipt["eos_token_ids"] == [7, 2]
    assert "--keep-base-text" in made.notes[0]


def test_where_our_vocabulary_is_the_base_s_own_an_adapter_needs_no_layout(base: Base) -> None:
    made = base.served(header(tokenizer=TokenizerKind.HF))
    assert made.receipt is None, "somebody else's vocabulary"
    name = "tokenizer.json"
    base.files[name] = (embedded_model_dir() / name).read_text(encoding="utf-8")
    made = base.served(header(tokenizer=TokenizerKind.HF))
    assert b"<|im_start|>" in made.files["chat_template.jinja"]
    assert content(made, "tokenizer_config.json")["eos_token"] == "<|im_end|>"


def test_ends_come_from_the_config_where_no_file_names_them(base: Base) -> None:
    del base.files["generation_config.json"]
    made = base.served(header(layout=TrainedLayout(end=END)))
    assert content(made, "generation_config.json") == {"eos_token_id": [7, 2]}


def test_one_template_is_left_where_it_is_looked_for_first(base: Base) -> None:
    base.files["tokenizer_config.json"]["chat_template"] = "other"
    base.files["chat_template.json"] = {"chat_template": "older"}
    made = base.served(with_template(OWN))
    assert made.files["chat_template.jinja"].decode() == OWN
    assert "chat_template" not in content(made, "tokenizer_config.json")
    assert "chat_template.json" not in made.files
    assert {"chat_template.json", "chat_template.jinja", "tokenizer_config.json"} <= changed(made)


def test_a_template_that_writes_eos_token_keeps_its_name(base: Base) -> None:
    text = OWN + "{{ eos_token }}"
    base.files["chat_template.jinja"] = text
    made = base.served(with_template(text, eos_token="</s>"))
    assert changed(made) == {"generation_config.json"}


def test_an_end_that_only_its_name_makes_a_control_token_keeps_its_name(base: Base) -> None:
    base.files["tokenizer_config.json"]["eos_token"] = "STOP"
    made = base.served(header(layout=TrainedLayout(end=END)))
    assert content(made, "tokenizer_config.json")["eos_token"] == "STOP"


def test_a_published_system_prompt_is_in_the_template(base: Base) -> None:
    policy = TextPolicy(template=ChatTemplate.CHATML, system_prompt="Be brief.")
    trained = replace(
        header(layout=TrainedLayout(end=END)),
        system_prompt=policy.system_prompt,
        template_digest=policy.digest,
    )
    public = base.served(trained.for_publishing(include_system_prompt=True))
    assert b"Be brief." in public.files["chat_template.jinja"]
    withheld = base.served(trained.for_publishing(include_system_prompt=False))
    assert b"Be brief." not in withheld.files["chat_template.jinja"]
    assert any("--include-system-prompt" in note for note in withheld.notes)


def test_a_printed_date_is_a_note(base: Base) -> None:
    source = TemplateSource(text="{{ strftime_now('%Y') }}", tokens={}, day="2024-07-26")
    layout = TrainedLayout(template=source, end=END)
    made = base.served(header(ChatTemplate.MODEL, layout=layout))
    assert any("2024-07-26" in note for note in made.notes)


def test_our_vocabulary_has_its_own_ends(base: Base) -> None:
    made = base.served(header(tokenizer=TokenizerKind.VOX))
    assert content(made, "generation_config.json")["eos_token_id"] == [4, 2]
    plain = base.served(header(ChatTemplate.PLAIN, tokenizer=TokenizerKind.VOX))
    assert content(plain, "generation_config.json")["eos_token_id"] == 2


def test_a_folder_without_settings_gets_the_ones_it_needs(base: Base) -> None:
    base.files = {"tokenizer.json": base.files["tokenizer.json"]}
    made = base.served(header(layout=TrainedLayout(end=END)))
    config = content(made, "tokenizer_config.json")
    assert (config["eos_token"], config["tokenizer_class"]) == (
        END.text,
        "PreTrainedTokenizerFast",
    )


@pytest.mark.parametrize("template", [ChatTemplate.CHATML, ChatTemplate.MODEL])
def test_an_adapter_without_a_layout_changes_nothing(base: Base, template: ChatTemplate) -> None:
    made = base.served(header(template))
    assert made.receipt is None
    assert made.files == {name: (base.folder / name).read_bytes() for name in base.files}
    assert len(made.notes) == 1
