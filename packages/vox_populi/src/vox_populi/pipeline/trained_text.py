"""How the text of a model's training was made, as far as the model says. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import (
    FieldError,
    take,
    take_member,
    take_object,
    take_optional,
    take_positive,
)
from vox_populi.files.strict_json import read_json_object
from vox_populi.merge.receipt import RECEIPT_FILE
from vox_populi.operator_messages import merge as say


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedText:
    """Tokenizer and layout that a model expects."""

    where: str
    """The file that says so."""
    tokenizer: TokenizerKind
    tokenizer_digest: str
    template: ChatTemplate
    template_digest: str
    """Of template and system prompt together."""
    system_prompt: str | None
    seq_len: int

    @property
    def withholds_system_prompt(self) -> bool:
        """Whether there was one in training, of which the model has the digest alone."""
        policy = TextPolicy(template=self.template, system_prompt=self.system_prompt)
        return policy.lacks_prompt_of(self.template_digest)

    @classmethod
    def of_adapter(cls, header: AdapterHeader, where: str) -> TrainedText:
        """What an adapter says, be it still one or merged."""
        return cls(
            where=where,
            tokenizer=header.tokenizer,
            tokenizer_digest=header.tokenizer_digest,
            template=header.template,
            template_digest=header.template_digest,
            system_prompt=header.system_prompt,
            seq_len=header.seq_len,
        )


def text_of_receipt(folder: Path) -> TrainedText | None:
    """What the receipt of a merged folder says; `None` for a folder without one.

    Raises:
        ModelError: When it is no JSON or cannot be read.
        ArtifactError: When it does not say what it must.
    """
    path = folder / RECEIPT_FILE
    if not path.is_file():
        return None
    try:
        return _of_fields(take_object(read_json_object(path), "adapter"), str(path))
    except FieldError as error:
        raise ArtifactError(say.receipt_unusable(str(path), str(error))) from error


def _of_fields(raw: Mapping[str, object], where: str) -> TrainedText:
    return TrainedText(
        where=where,
        tokenizer=take_member(raw, "tokenizer", TokenizerKind),
        tokenizer_digest=take(raw, "tokenizer_digest", str),
        template=take_member(raw, "template", ChatTemplate),
        template_digest=take(raw, "template_digest", str),
        system_prompt=take_optional(raw, "system_prompt", str),
        seq_len=take_positive(raw, "seq_len"),
    )
