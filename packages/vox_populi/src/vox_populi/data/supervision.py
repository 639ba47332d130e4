"""Turning messages into ids and labels: the one place that decides which tokens are learned.

Text is encoded piece by piece, so a mask can never be off by a token that two pieces share, and
text that spells a control token stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.data.control_text import ControlText
from vox_populi.data.layout_rows import LayoutEncoder
from vox_populi.data.learned_parts import LearnedParts, answers_of, fully_learned, learned_messages
from vox_populi.data.template_messages import Tools, templated_record
from vox_populi.data.template_rows import History, RenderTokenizer, TemplateEncoder
from vox_populi.data.trained_layout import TokenName, TrainedLayout
from vox_populi.data.training_text import (
    END_OF_TEXT,
    ChatTemplate,
    TextPolicy,
    training_pieces,
)
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_populi.operator_messages import rows as say_rows
from vox_tensor.chat_markup import IM_END, IM_START, Piece, PieceKind
from vox_tensor.records import IGNORE_INDEX, EncodedRow, Message, Role, TrainingRecord
from vox_tensor.tokenizer import TextTokenizer


def encode_record(
    record: TrainingRecord,
    tokenizer: TextTokenizer,
    policy: TextPolicy,
    max_tokens: int | None = None,
    where: str = "",
) -> EncodedRow:
    """Tokenise a row; the assistant's text and the token that ends it are learned.

    `policy.learn` can ask for less or more than that. A text without turns is learned whole, with
    its end, whatever the template.

    Args:
        record: The row.
        tokenizer: Its control tokens become ids. If it lacks `<|im_end|>`, its own end token is
            used instead; any other marker it lacks is encoded as text.
        policy: Template and system prompt.
        max_tokens: Number of tokens to keep, from the start of the row.
        where: Name of the row's file, for messages.

    Returns:
        Ids and unshifted labels (see `EncodedRow`); possibly nothing is learned.

    Raises:
        DataError: When a message contains a marker that this tokenizer has only as text, or the
            model's own template refuses the row.
    """
    record = chosen_form(record, policy)
    if policy.learn is LearnedParts.ALL and not record.is_text:
        answers = replace(policy, learn=LearnedParts.ANSWERS)
        bare = learned_messages(record, policy.learn)
        return fully_learned(encode_record(bare, tokenizer, answers, max_tokens, where))
    record = learned_messages(record, policy.learn)
    if record.is_text:
        policy = _plain_text(tokenizer, policy)
    place = f"{where}:{record.line}"
    if policy.own is None:
        _require_no_tools(record.messages, record.tools, policy, place)
    encoder = whole_encoder(policy, tokenizer)
    if encoder is not None:
        return encoder.row(record, max_tokens, where)
    ids: list[int] = []
    labels: list[int] = []
    for piece, piece_ids in _encoded_pieces(record.messages, tokenizer, policy, place):
        ids += piece_ids
        labels += piece_ids if piece.learn else [IGNORE_INDEX] * len(piece_ids)
        if max_tokens is not None and len(ids) >= max_tokens:
            break
    return EncodedRow(
        tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), record.line, record.weight
    )


def chosen_form(record: TrainingRecord, policy: TextPolicy) -> TrainingRecord:
    """The form of a row that is encoded: with real tool calls, if the model's template has them."""
    return record if policy.own is None else templated_record(record, policy.own)


def encode_rows(
    record: TrainingRecord, tokenizer: TextTokenizer, policy: TextPolicy, where: str = ""
) -> tuple[EncodedRow, ...]:
    """The rows that a record gives: one, or one of each learned answer (`History.SPLIT`).

    Raises:
        DataError: As for `encode_record`.
    """
    is_split = policy.history is History.SPLIT and policy.learn is not LearnedParts.ALL
    if record.is_text or not is_split:
        return (encode_record(record, tokenizer, policy, where=where),)
    record = learned_messages(chosen_form(record, policy), policy.learn)
    parts = answers_of(record) or (record,)
    return tuple(encode_record(part, tokenizer, policy, where=where) for part in parts)


def last_supervised(row: EncodedRow, count: int) -> EncodedRow:
    """The same ids, with only the last `count` supervised tokens learned.

    Args:
        row: An encoded row. Its first token can never be learned and does not count.
        count: At least 1.
    """
    learned = [place for place in range(1, len(row)) if row.labels[place] != IGNORE_INDEX]
    if len(learned) <= count:
        return row
    first = learned[-count]
    return replace(row, labels=(IGNORE_INDEX,) * first + row.labels[first:])


def encode_prompt(
    messages: Sequence[Message],
    tokenizer: TextTokenizer,
    policy: TextPolicy,
    tools: Tools = (),
) -> list[int]:
    """Ids up to where an assistant's answer starts, exactly as in a training row.

    Args:
        messages: The conversation so far.
        tokenizer: As for `encode_record`.
        policy: Template and system prompt.
        tools: Definitions of the tools that can be called.

    Raises:
        DataError: When a message contains a marker that this tokenizer has only as text, or
            holds a lone surrogate.
    """
    ids: list[int] = []
    place = "the prompt"
    pieces = _encoded_pieces(messages, tokenizer, policy, place, open_assistant=True)
    try:
        if policy.own is not None:
            return own_encoder(policy.own, policy, tokenizer).prompt(messages, tools)
        _require_no_tools(messages, tools, policy, place)
        encoder = whole_encoder(policy, tokenizer)
        if encoder is not None:
            return encoder.prompt(messages)
        for _, piece_ids in pieces:
            ids += piece_ids
    except ValueError:
        raise DataError(say.PROMPT_NOT_UNICODE.at(place)) from None
    return ids


def encode_text_start(text: str, tokenizer: TextTokenizer, policy: TextPolicy) -> list[int]:
    """Ids of a text without turns that is to be continued: a row of that text, without its end.

    Raises:
        DataError: As for `encode_record`.
    """
    record = TrainingRecord(messages=(Message(Role.ASSISTANT, text),), line=0, is_text=True)
    ids = encode_record(record, tokenizer, policy).ids
    end = end_of_answer_id(tokenizer, _plain_text(tokenizer, policy))
    return list(ids[:-1] if ids and ids[-1] == end else ids)


def end_of_answer_id(tokenizer: TextTokenizer, policy: TextPolicy) -> int | None:
    """The id that a model trained under a policy ends its answers with.

    `None` if the tokenizer has no end token: then the marker is learned as text.
    """
    encoder = whole_encoder(policy, tokenizer)
    if encoder is not None:
        return encoder.end_of_answer_id()
    marker = IM_END if policy.template is ChatTemplate.CHATML else END_OF_TEXT
    return _control_id(marker, tokenizer)


def layout_of(tokenizer: TextTokenizer, policy: TextPolicy) -> TrainedLayout | None:
    """The layout that a training records; `None` for our vocabulary, whose layouts are fixed.

    Raises:
        ModelError: When the base's template ends an answer without a control token.
    """
    if policy.own is None or not isinstance(tokenizer, RenderTokenizer):
        return policy.layout
    end = own_encoder(policy.own, policy, tokenizer).end_of_answer_id()
    probe = (Message(Role.USER, "U"), Message(Role.ASSISTANT, "A"))
    row = encode_record(TrainingRecord(messages=probe, line=0), tokenizer, policy)
    bos = tokenizer.control_id(policy.own.tokens.get("bos_token", ""))
    return TrainedLayout(
        template=policy.own.source,
        bos=_named(bos, tokenizer) if bos is not None and row.ids[0] == bos else None,
        end=_named(end, tokenizer),
        keeps_control_text=policy.on_control_text is ControlText.KEEP,
    )


def borders_of(tokenizer: TextTokenizer, template: ChatTemplate) -> TrainedLayout | None:
    """BOS and end token of ChatML or the plain layout with a base's own tokenizer.

    `None` for our vocabulary, and if nothing could end an answer.
    """
    assert not template.is_rendered, "it has its own"
    marker = IM_END if template is ChatTemplate.CHATML else END_OF_TEXT
    end = _control_id(marker, tokenizer)
    if end is None or not isinstance(tokenizer, RenderTokenizer):
        return None
    bos = tokenizer.bos_id
    return TrainedLayout(
        bos=None if bos is None else _named(bos, tokenizer), end=_named(end, tokenizer)
    )


def whole_encoder(
    policy: TextPolicy, tokenizer: TextTokenizer
) -> TemplateEncoder | LayoutEncoder | None:
    """What encodes a conversation as one text; `None` where each piece is encoded on its own."""
    if policy.own is not None:
        return own_encoder(policy.own, policy, tokenizer)
    if policy.layout is None:
        return None
    assert isinstance(tokenizer, RenderTokenizer), "only such a tokenizer has a layout"
    return LayoutEncoder(tokenizer=tokenizer, policy=policy, layout=policy.layout)


def _named(token_id: int, tokenizer: RenderTokenizer) -> TokenName:
    return TokenName(token_id, tokenizer.token_text(token_id))


def own_encoder(
    template: ModelTemplate, policy: TextPolicy, tokenizer: TextTokenizer
) -> TemplateEncoder:
    """The encoder of a model's own template."""
    # `isinstance` would look at every member of the protocol, for every row.
    assert hasattr(tokenizer, "encode_rendered"), "`choose_template` refuses other tokenizers"
    return TemplateEncoder(
        template=template,
        tokenizer=cast(RenderTokenizer, tokenizer),
        history=policy.history,
        system_prompt=policy.system_prompt,
        keeps_control_text=policy.on_control_text is ControlText.KEEP,
    )


def _plain_text(tokenizer: TextTokenizer, policy: TextPolicy) -> TextPolicy:
    """The policy for a text without turns: the plain layout with the borders of this base."""
    if policy.own is None and policy.layout is None:
        return TextPolicy(template=ChatTemplate.PLAIN)
    layout = borders_of(tokenizer, ChatTemplate.PLAIN) or layout_of(tokenizer, policy)
    return TextPolicy(
        template=ChatTemplate.PLAIN, layout=layout, on_control_text=policy.on_control_text
    )


def _require_no_tools(
    messages: Sequence[Message], tools: Tools, policy: TextPolicy, place: str
) -> None:
    """Our own layouts have no form for tools, which they would drop silently."""
    if tools or any(message.tool_calls for message in messages):
        raise DataError(say_rows.layout_has_no_tools(policy.kind).at(place))


def _encoded_pieces(
    messages: Sequence[Message],
    tokenizer: TextTokenizer,
    policy: TextPolicy,
    place: str,
    *,
    open_assistant: bool = False,
) -> Iterator[tuple[Piece, list[int]]]:
    spelled_out = _markers_spelled_out(tokenizer, policy)
    for piece in training_pieces(messages, policy, open_assistant=open_assistant):
        token = _control_id(piece.text, tokenizer) if piece.kind is PieceKind.CONTROL else None
        if token is not None:
            yield piece, [token]
            continue
        if piece.kind is PieceKind.TEXT and any(marker in piece.text for marker in spelled_out):
            raise DataError(say.marker_in_text(spelled_out).at(place))
        yield piece, tokenizer.encode(piece.text)


def _control_id(marker: str, tokenizer: TextTokenizer) -> int | None:
    if marker == END_OF_TEXT:
        return tokenizer.eos_id
    token = tokenizer.control_id(marker)
    return tokenizer.eos_id if token is None and marker == IM_END else token


def _markers_spelled_out(tokenizer: TextTokenizer, policy: TextPolicy) -> tuple[str, ...]:
    """Markers of a template that are encoded as text, so that messages could forge them."""
    chatml = policy.template is ChatTemplate.CHATML
    markers = (IM_START, IM_END) if chatml else (END_OF_TEXT,)
    return tuple(marker for marker in markers if _control_id(marker, tokenizer) is None)
