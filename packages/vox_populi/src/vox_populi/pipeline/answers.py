"""Generating answers with loaded weights, and scoring them. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

from vox_populi.data.supervision import (
    chosen_form,
    encode_prompt,
    encode_record,
    end_of_answer_id,
)
from vox_populi.data.template_messages import Tools
from vox_populi.errors import DataError
from vox_populi.hf.generation_config import read_stop_ids
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.continuation import StopReason
from vox_populi.infer.generate import Generated, generate_ids
from vox_populi.infer.generate_many import AskedText, generate_many
from vox_populi.infer.python_syntax import is_python
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import data as say_data
from vox_populi.pipeline.evaluate import AnswerScore
from vox_populi.pipeline.generate import GenerateRequest
from vox_populi.pipeline.load_model import FoundWeights
from vox_tensor.records import IGNORE_INDEX, Message, Role, TrainingRecord

SMALL_MODEL_BYTES = 32 << 20
"""Stored size up to which one thread is faster. With smaller weights, a product of one token takes
about as long as distributing it to threads, which is many times slower on a busy machine: vox-nano
(8 MB) generated 600 tokens/s with one thread and 50 to 270 with two."""


def answer_threads(found: FoundWeights, threads: int | None) -> int | None:
    """CPU threads for generating answers: as requested, or one for a small model."""
    is_small = found.inventory.total_bytes < SMALL_MODEL_BYTES
    return 1 if threads is None and is_small else threads


def stop_ids(found: FoundWeights) -> frozenset[int]:
    """Ids that end an answer: as trained, and the end tokens of the base and its tokenizer.

    Raises:
        ModelError: For a generation config that cannot be used.
    """
    ends = (end_of_answer_id(found.tokenizer, found.policy), found.tokenizer.eos_id)
    known = (end for end in ends if end is not None)
    inventory = found.inventory
    written = read_stop_ids(inventory.model_dir, inventory.config.vocab_size)
    return frozenset((*known, *inventory.config.eos_ids, *written))


class Answerer:
    """Weights that answer; tokens they have read are cached for prompts with the same start."""

    def __init__(self, found: FoundWeights, model: CausalGraph) -> None:
        self._found = found
        self._stop_ids = stop_ids(found)
        self._transformer = model
        self._model = CachedModel(model)

    @property
    def most_prompt_tokens(self) -> int:
        """Longest prompt that leaves room for an answer."""
        return longest_prompt(self._found)

    def encode(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Ids up to where the answer starts."""
        return encode_prompt(messages, self._found.tokenizer, self._found.policy, tools)

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text to continue as it is: with what starts a text, and without what ends it.

        Raises:
            DataError: When it holds a lone surrogate.
        """
        record = TrainingRecord(messages=(Message(Role.ASSISTANT, text),), line=1, is_text=True)
        try:
            row = encode_record(record, self._found.tokenizer, self._found.policy)
        except ValueError:
            raise DataError(say_data.PROMPT_NOT_UNICODE.at("the prompt")) from None
        ids = list(row.ids)
        return ids[:-1] if ids and ids[-1] in self._stop_ids else ids

    def form_of(self, record: TrainingRecord) -> TrainingRecord:
        """The form of a row that these weights were trained on."""
        return chosen_form(record, self._found.policy)

    def expected(self, record: TrainingRecord, index: int) -> str:
        """Text of an assistant's message as the model would write it, calls and reasoning too."""
        message = record.messages[index]
        if message.extras is None:
            return message.content
        before = (replace(each, learn=False) for each in record.messages[:index])
        asked = replace(record, messages=(*before, replace(message, learn=True)))
        row = encode_record(asked, self._found.tokenizer, self._found.policy)
        return self.decode([label for label in row.labels if label != IGNORE_INDEX])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer."""
        return self._found.tokenizer.decode(ids)

    def answer(
        self,
        prompt_ids: Sequence[int],
        max_new_tokens: int,
        sampling: SamplingSpec,
        on_token: Callable[[int], None] | None = None,
    ) -> Generated:
        """See `generate_ids`."""
        return generate_ids(
            self._model,
            prompt_ids,
            max_new_tokens=max_new_tokens,
            stop_ids=self._stop_ids,
            sampling=sampling,
            on_token=on_token,
        )

    def answers(self, asked: Sequence[AskedText]) -> Iterator[Generated]:
        """The answers to prompts, in order, as `answer` gives them; see `generate_many`."""

        def alone(each: AskedText) -> Generated:
            return self.answer(each.prompt_ids, each.max_new_tokens, each.sampling)

        return generate_many(self._transformer, asked, alone, self._stop_ids)


def longest_prompt(found: FoundWeights) -> int:
    """Largest prompt that leaves the model a position for an answer."""
    return found.inventory.config.max_positions - 1


def sampling_of(request: GenerateRequest, index: int) -> SamplingSpec:
    """How to choose tokens after one prompt; each prompt has its own random stream."""
    return SamplingSpec(
        temperature=request.temperature,
        top_k=request.top_k or 0,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed + index,
    )


def score_answers(
    answerer: Answerer, groups: Sequence[Sequence[TrainingRecord]], max_new_tokens: int
) -> list[AnswerScore | None]:
    """Answer rows greedily, each up to its last answer, those of all groups together.

    Returns:
        The score of each group; `None` for one without a row that asks anything.
    """
    asking = [[record for record in records if not record.is_text] for records in groups]
    answers = iter(_answered(answerer, list(chain.from_iterable(asking)), max_new_tokens))
    return [_score(list(islice(answers, len(records)))) for records in asking]


def _score(answers: Sequence[_Answer]) -> AnswerScore | None:
    if not answers:
        return None
    return AnswerScore(
        rows=len(answers),
        exact=sum(each.text.strip() == each.expected.strip() for each in answers),
        python=sum(is_python(each.text) for each in answers),
        expected_python=sum(is_python(each.expected) for each in answers),
        blank=sum(not each.text.strip() for each in answers),
        cut=sum(each.is_cut for each in answers),
    )


class _Answer(NamedTuple):
    text: str
    expected: str
    is_cut: bool


def _answered(
    answerer: Answerer, records: Sequence[TrainingRecord], max_new_tokens: int
) -> list[_Answer]:
    """The model's answers in place of the rows' last answers, and those answers."""
    parts = [_parts(answerer, record) for record in records]
    asked = {
        number: AskedText(prompt_ids=ids, max_new_tokens=max_new_tokens)
        for number, (ids, _) in enumerate(parts)
        if 0 < len(ids) <= answerer.most_prompt_tokens
    }
    made = dict(zip(asked, answerer.answers(list(asked.values())), strict=True))
    return [_answer(answerer, made.get(number), text) for number, (_, text) in enumerate(parts)]


def _parts(answerer: Answerer, record: TrainingRecord) -> tuple[list[int], str]:
    """Ids up to a row's last answer, and its text."""
    record = answerer.form_of(record)
    messages = record.messages
    last = max(i for i, message in enumerate(messages) if message.role is Role.ASSISTANT)
    return answerer.encode(messages[:last], record.tools), answerer.expected(record, last)


def _answer(answerer: Answerer, made: Generated | None, expected: str) -> _Answer:
    """An answer; empty if the prompt left no room for one."""
    if made is None:
        return _Answer("", expected, is_cut=False)
    is_cut = made.stop_reason is not StopReason.STOP_TOKEN
    return _Answer(answerer.decode(made.ids), expected, is_cut)
