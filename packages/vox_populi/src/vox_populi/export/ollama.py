"""A `Modelfile` for Ollama beside a GGUF file. No torch here.

Ollama has templates of its own (Go's) and only guesses which of its built-in ones a GGUF file's
Jinja template resembles, so the template is written out: the parts around system prompt, question
and answer are read off rendered conversations, and compared on longer ones. A template that is not
made of such parts is left to Ollama's guess, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.errors import DataError

_SYSTEM, _USER, _ANSWER = "Sysword", "Userword", "Answerword"
_OPEN = "{{"
_GO_OPEN = '{{ "{{" }}'
"""How a Go template writes the characters that open an action."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Text around the contents of a conversation."""

    start: str
    """Before the first question, without a system prompt."""
    before_system: str
    after_system: str
    before_user: str
    before_answer: str
    """Between a question and its answer."""
    after_answer: str

    def render(self, turns: Sequence[tuple[str, str]]) -> str:
        """What Ollama makes of alternating turns that end with a question."""
        system = next((text for role, text in turns if role == "system"), None)
        text = self.start
        if system is not None:
            text = f"{self.before_system}{system}{self.after_system}"
        for role, content in turns:
            if role == "user":
                text += f"{self.before_user}{content}{self.before_answer}"
            elif role == "assistant":
                text += f"{content}{self.after_answer}"
        return text

    def as_go(self) -> str:
        """The same as a template of Ollama."""
        system = f"{_go(self.before_system)}{{{{ .System }}}}{_go(self.after_system)}"
        without = f"{{{{ else }}}}{_go(self.start)}" if self.start else ""
        user = f"{_go(self.before_user)}{{{{ .Content }}}}{_go(self.before_answer)}"
        return (
            f"{{{{ if .System }}}}{system}{without}{{{{ end }}}}"
            '{{ range .Messages }}{{ if eq .Role "user" }}'
            f'{user}{{{{ else if eq .Role "assistant" }}}}'
            f"{{{{ .Content }}}}{_go(self.after_answer)}{{{{ end }}}}{{{{ end }}}}"
        )


def modelfile(gguf: str, go_template: str | None, stops: Sequence[str]) -> bytes:
    """The file's content.

    Args:
        gguf: Name of the GGUF file in the same folder.
        go_template: Ollama's template; `None`: as Ollama guesses it.
        stops: Text of the tokens that end an answer.
    """
    lines = [f"FROM ./{gguf}"]
    if go_template is not None:
        lines.append(f'TEMPLATE """{go_template}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop]
    return ("\n".join(lines) + "\n").encode()


def go_template_of(template: ModelTemplate) -> str | None:
    """A chat template as one of Ollama; `None` if it is not made of fixed parts."""
    try:
        parts = _parts_of(template)
        is_same = all(parts.render(turns) == _rendered(template, turns) for turns in _probes())
    except (DataError, ValueError):
        return None
    found = parts.as_go()
    return found if is_same and '"""' not in found else None


def _parts_of(template: ModelTemplate) -> _Parts:
    """The text around the contents of three conversations.

    Raises:
        DataError: When the template refuses one.
        ValueError: When a content is missing or comes twice.
    """
    question = ("user", _USER)
    start, before_answer = _split(_rendered(template, [question]), _USER)
    with_system = _rendered(template, [("system", _SYSTEM), question])
    before_system, rest = _split(with_system, _SYSTEM)
    after_system, _ = _split(rest, _USER)
    longer = _rendered(template, [question, ("assistant", _ANSWER), ("user", "Second")])
    after_answer, _ = _split(_split(longer, _ANSWER)[1], "Second")
    before_user = _common_end((start, after_system, after_answer))
    length = len(before_user)
    return _Parts(
        start=start[: len(start) - length],
        before_system=before_system,
        after_system=after_system[: len(after_system) - length],
        before_user=before_user,
        before_answer=before_answer,
        after_answer=after_answer[: len(after_answer) - length],
    )


def _probes() -> Iterator[list[tuple[str, str]]]:
    """Conversations of one to three questions, with and without a system prompt."""
    turns = [("user", "One?"), ("assistant", "1."), ("user", "Two?"), ("assistant", "2.")]
    turns.append(("user", "Three?"))
    for length in (1, 3, 5):
        yield turns[:length]
        yield [("system", "Be brief."), *turns[:length]]


def _rendered(template: ModelTemplate, turns: Sequence[tuple[str, str]]) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return template.render(messages, open_assistant=True).text


def _split(text: str, content: str) -> tuple[str, str]:
    """What is before and after a content that occurs once.

    Raises:
        ValueError: When it does not.
    """
    before, after = text.split(content)
    return before, after


def _common_end(texts: Sequence[str]) -> str:
    """The longest text that all of them end with."""
    first = texts[0]
    starts = range(len(first) + 1)
    return next(first[i:] for i in starts if all(text.endswith(first[i:]) for text in texts))


def _go(text: str) -> str:
    return text.replace(_OPEN, _GO_OPEN)
