"""A model's own chat template: its text, what it is rendered with, and the rendered text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from vox_populi import extras
from vox_populi.data.trained_layout import TemplateSource
from vox_populi.errors import DataError, ModelError
from vox_populi.operator_messages import chat_template as say

TEMPLATE_DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""The date that templates print: always the same, so that a run can be repeated and a prompt is
that of the training. It is the one that Llama's templates print if they are told none."""

DEFAULT_DAY = TEMPLATE_DATE.date().isoformat()


def joined_templates(default: str, for_tools: str) -> str:
    """One template that is the second one if there are tools, and otherwise the first.

    Some models come with two. As one text they are recorded and passed on like any other.
    """
    # Jinja drops one line end at the end of a template, and here the one behind each tag.
    parts = (each.removesuffix("\n") for each in (for_tools, default))
    return "{% if tools %}\n" + "{% else %}\n".join(parts) + "{% endif %}\n"


TemplateMessage = Mapping[str, Any]
"""A message as a template sees it: plain JSON values under `role`, `content` and other keys."""


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as one text."""

    text: str
    generated: tuple[tuple[int, int], ...] = ()
    """Start and end of each generation block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTemplate:
    """A Jinja template with everything that decides its output.

    Raises:
        ModelError: When the text is not a template.
        MissingExtraError: Without Jinja2.
    """

    text: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    """`bos_token`, `eos_token` and the others, by name."""
    now: datetime
    """The date that a template can ask for; fixed, so that a run can be repeated."""
    where: str = "the chat template"
    _compiled: Any = field(init=False, repr=False, compare=False)
    _forms: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        extras.require("jinja2")
        try:
            compiled = _sandbox().CompiledTemplate(self.text, self.now)
        except ValueError as error:
            raise ModelError(say.template_unusable(str(error)).at(self.where)) from None
        object.__setattr__(self, "_compiled", compiled)
        forms = _render_forms().RenderForms(self.text, self.now, compiled)
        object.__setattr__(self, "_forms", forms)

    @property
    def marks_generated(self) -> bool:
        """Whether the template says itself which text is the assistant's."""
        return bool(self._compiled.marks_generated)

    @property
    def uses_date(self) -> bool:
        """Whether the text depends on the date."""
        return "strftime_now" in self.text

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of text, tokens and, where it is used, the date."""
        return self.source.digest

    @property
    def source(self) -> TemplateSource:
        """The template as values that files record."""
        day = self.now.date().isoformat() if self.uses_date else None
        return TemplateSource(text=self.text, tokens=self.tokens, day=day)

    @classmethod
    def of(cls, source: TemplateSource, where: str) -> ModelTemplate:
        """The template that was recorded.

        Args:
            source: Its values.
            where: The file that records it, for messages.

        Raises:
            ModelError: When the text is not a template.
            MissingExtraError: Without Jinja2.
        """
        day = source.day
        now = TEMPLATE_DATE if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC)
        return cls(text=source.text, tokens=source.tokens, now=now, where=where)

    def render(
        self,
        messages: Sequence[TemplateMessage],
        *,
        open_assistant: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        place: str = "",
    ) -> RenderedChat:
        """The conversation as one text, as `apply_chat_template` renders it.

        Args:
            messages: The turns; keys without a value are left out.
            open_assistant: End where an assistant's answer starts.
            tools: Definitions of tools.
            place: File and line, for messages.

        Raises:
            DataError: When the template refuses the conversation or writes too much.
        """
        variables = {
            **self.tokens,
            "messages": [
                {key: value for key, value in message.items() if value is not None}
                for message in messages
            ],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": open_assistant,
        }
        try:
            return RenderedChat(*self._forms.render(variables))
        except _sandbox().RenderedTooLargeError:
            limit = _sandbox().MAX_CHARACTERS
            raise DataError(say.render_too_large(limit).at(place)) from None
        except ValueError as error:
            raise DataError(say.template_refused(str(error)).at(place)) from None


def _sandbox() -> ModuleType:
    return extras.load("vox_populi.data.jinja_sandbox")


def _render_forms() -> ModuleType:
    return extras.load("vox_populi.data.render_forms")
