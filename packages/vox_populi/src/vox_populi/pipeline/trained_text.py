"""The text format of a model's training, as far as the model records it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader, take_text
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.trained_layout import TrainedLayout
from vox_populi.data.training_text import ChatTemplate, withholds_prompt
from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import (
    FieldError,
    take_object,
)
from vox_populi.files.strict_json import read_json_object
from vox_populi.merge.receipt import RECEIPT_FILE
from vox_populi.operator_messages import merge as say


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedText:
    """Tokenizer and layout that a model expects."""

    where: str
    """The file that records this."""
    tokenizer: TokenizerKind
    tokenizer_digest: str
    template: ChatTemplate
    template_digest: str
    """Digest of template and system prompt together."""
    system_prompt: str | None
    seq_len: int
    layout: TrainedLayout | None = None
    """Template and border tokens; older files do not record them."""

    @property
    def withholds_system_prompt(self) -> bool:
        """Whether training used a system prompt of which the model has only the digest."""
        is_absent = self.system_prompt is None
        return is_absent and withholds_prompt(self.template, self.layout, self.template_digest)

    @classmethod
    def of_adapter(cls, header: AdapterHeader, where: str) -> TrainedText:
        """The text format recorded in an adapter, merged or not."""
        return cls(
            where=where,
            tokenizer=header.tokenizer,
            tokenizer_digest=header.tokenizer_digest,
            template=header.template,
            template_digest=header.template_digest,
            system_prompt=header.system_prompt,
            seq_len=header.seq_len,
            layout=header.layout,
        )


def text_of_receipt(folder: Path) -> TrainedText | None:
    """The text format in a merged folder's receipt; `None` without a receipt.

    Raises:
        ModelError: When it is not JSON or cannot be read.
        ArtifactError: When it is not valid.
    """
    path = folder / RECEIPT_FILE
    if not path.is_file():
        return None
    try:
        return _of_fields(take_object(read_json_object(path), "adapter"), str(path))
    except FieldError as error:
        raise ArtifactError(say.receipt_unusable(str(error)).at(str(path))) from error


def _of_fields(raw: Mapping[str, object], where: str) -> TrainedText:
    return TrainedText(
        where=where,
        **take_text(raw),
    )
