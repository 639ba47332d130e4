"""A Modelfile lays out a conversation as the GGUF file's template does."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.served_template import served_template
from vox_populi.data.training_text import ChatTemplate
from vox_populi.export.ollama import go_template_of, modelfile
from vox_tensor.chat_markup import IM_END

pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] +"
    " '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
SMOL = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def made(text: str) -> ModelTemplate:
    return ModelTemplate(
        text=text, tokens={"bos_token": "<s>"}, now=datetime(2024, 7, 26, tzinfo=UTC)
    )


def filled(go: str, system: str, turns: list[tuple[str, str]]) -> str:
    """Ollama's result, by an evaluation of the few actions that are used."""
    found = re.fullmatch(
        r"\{\{ if \.System \}\}(?P<sys>.*?)(\{\{ else \}\}(?P<start>.*?))?\{\{ end \}\}"
        r'\{\{ range \.Messages \}\}\{\{ if eq \.Role "user" \}\}(?P<user>.*)'
        r'\{\{ else if eq \.Role "assistant" \}\}(?P<answer>.*)\{\{ end \}\}\{\{ end \}\}',
        go,
        re.DOTALL,
    )
    assert found is not None
    text = found["sys"].replace("{{ .System }}", system) if system else found["start"] or ""
    for role, content in turns:
        part = {"user": found["user"], "assistant": found["answer"]}.get(role, "")
        text += part.replace("{{ .Content }}", content)
    return text


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize(
    "text",
    [
        LLAMA3,
        SMOL,
        served_template(ChatTemplate.CHATML, IM_END, None),
        served_template(ChatTemplate.CHATML, IM_END, "Say {{ little."),
    ],
)
def test_it_is_the_same_text(text: str, system: str) -> None:
    template = made(text)
    go = go_template_of(template)
    assert go is not None
    turns = [("user", "U"), ("assistant", "A"), ("user", "V")]
    messages = [{"role": role, "content": content} for role, content in turns]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    wanted = template.render(messages, open_assistant=True).text
    assert filled(go, system, turns).replace('{{ "{{" }}', "{{") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ m['content'] }}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}[{{ loop.index }}]{{ m['content'] }}{% endfor %}",
    ],
)
def test_other_templates_are_left_to_ollama(text: str) -> None:
    assert go_template_of(made(text)) is None


def test_the_file_names_model_template_and_stops() -> None:
    data = modelfile("m.gguf", "{{ .System }}", ["<|im_end|>"]).decode()
    assert data == 'FROM ./m.gguf\nTEMPLATE """{{ .System }}"""\nPARAMETER stop "<|im_end|>"\n'
    assert modelfile("m.gguf", None, []) == b"FROM ./m.gguf\n"
