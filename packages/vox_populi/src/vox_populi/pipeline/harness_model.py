"""Loaded weights as a model of the LM Evaluation Harness. Needs torch and lm_eval.

How a text is divided into context and continuation, what comes before an empty context, and how
long texts are cut into windows follow lm_eval's own model for transformers (`HFLM`), so that
figures can be compared with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from vox_populi.data.row_fields import RowFields
from vox_populi.data.row_turns import parse_turns
from vox_populi.data.supervision import encode_prompt
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.token_text import TokenTexts
from vox_populi.errors import DataError
from vox_populi.hf.chat_template_files import named_tokens
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.continuation import Continuation, ContinuationLimits
from vox_populi.infer.force_text import force_ids
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import harness as say
from vox_populi.pipeline.answers import stop_ids
from vox_populi.pipeline.load_model import FoundWeights

Scored = list[tuple[float, bool]]
"""Log-likelihood of each continuation, and whether it is the most likely text."""


class HarnessModel(TemplateLM):  # type: ignore[misc]  # lm_eval has no types
    """What lm_eval asks.

    Args:
        found: Weights with their tokenizer and template.
        model: The loaded base, with its adapter if there is one.
        seed: Of sampled answers.
    """

    def __init__(self, found: FoundWeights, model: CausalGraph, seed: int) -> None:
        super().__init__()
        self._found = found
        self._model = model.eval()
        self._seed = seed
        self._most = found.inventory.config.max_positions
        self._ends = stop_ids(found)
        self._rendered: dict[str, list[int]] = {}
        """Prompts in the chat template with their ids: text alone does not tell controls apart."""
        self._lengths: set[int] = set()

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        end = self._found.tokenizer.eos_id
        return min(self._ends) if end is None else end

    @property
    def prefix_token_id(self) -> int:
        """The id before a text without a context."""
        tokenizer = self._found.tokenizer
        named = named_tokens(self._found.inventory.model_dir).get("bos_token")
        start = None if named is None else tokenizer.control_id(named)
        return self.eot_token_id if start is None else start

    @property
    def tokenizer_name(self) -> str:
        """Tells request caches apart."""
        return self._found.tokenizer.digest

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Tells reports apart."""
        return self._found.policy.digest if chat_template else ""

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The text of a conversation with an open answer, as in training.

        Raises:
            ValueError: For an answer that has begun.
            DataError: When the template refuses the conversation.
        """
        if not add_generation_prompt:
            message = "an answer that has begun (gen_prefix) has no form in a chat template here"
            raise ValueError(message)
        row = RowFields({}, "a task")
        messages = parse_turns(row, list[object](chat_history), "messages")
        if row.problems:
            raise DataError(*row.problems)
        tokenizer = self._found.tokenizer
        ids = encode_prompt(messages, tokenizer, self._found.policy)
        text = "".join(each.text for each in TokenTexts(tokenizer).of(ids))
        self._rendered[text] = ids
        self._lengths.add(len(text))
        return text

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Ids of a text; with what the tokenizer puts in front of one, unless that is there."""
        for length in self._lengths:
            known = self._rendered.get(string[:length])
            if known is not None:
                return [*known, *self._plain_ids(string[length:])]
        tokenizer = self._found.tokenizer
        ids = self._plain_ids(string)
        start = tokenizer.bos_id if isinstance(tokenizer, RenderTokenizer) else None
        if start is None or add_special_tokens is False or ids[:1] == [start]:
            return ids
        return [start, *ids]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> Scored:
        """How likely each continuation is after its context."""
        return list(super().loglikelihood(requests, disable_tqdm=True))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """How likely each whole text is, in windows of all positions."""
        return [self._rolling(each.args[0]) for each in requests]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """The answer to each context, up to one of its stop texts."""
        return [self._answer(i, *each.args) for i, each in enumerate(requests)]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> Scored:
        return [self._score(context, ids) for _, context, ids in requests]

    def _plain_ids(self, text: str) -> list[int]:
        """Ids of a text in which the names of control tokens are control tokens."""
        tokenizer = self._found.tokenizer
        if isinstance(tokenizer, RenderTokenizer):
            return tokenizer.encode_rendered(text)[0]
        return tokenizer.encode(text)

    def _score(self, context: list[int], ids: list[int]) -> tuple[float, bool]:
        if len(ids) > self._most:
            raise DataError(say.harness_text_too_long(len(ids), self._most))
        # One more than the positions: the last id is not read. What does not fit goes at the left.
        kept = context[-(self._most + 1 - len(ids)) :]
        tokens = force_ids(self._model, kept, ids)
        chosen = all(token == each.best_id for token, each in zip(ids, tokens, strict=True))
        return sum(each.logprob for each in tokens), chosen

    def _rolling(self, text: str) -> float:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self._most,
            context_len=1,
        )
        return sum(self._score(*make_disjoint_window(each))[0] for each in windows)

    def _answer(self, number: int, context: str, settings: dict[str, Any]) -> str:
        wanted = dict(normalize_gen_kwargs(settings))
        stops = [each for each in wanted.get("until", []) if each]
        most = int(wanted["max_gen_toks"])
        ids = self.tok_encode(context)[-max(self._most - most, 1) :]
        limits = ContinuationLimits(
            max_new_tokens=most, max_positions=self._most, stop_ids=self._ends
        )
        sampling = SamplingSpec(
            temperature=float(wanted["temperature"]),
            top_k=int(wanted.get("top_k") or 0),
            top_p=float(wanted.get("top_p") or 1.0),
            seed=self._seed + number,
        )
        text = Continuation(ids, limits, sampling)
        model, made = CachedModel(self._model), ""
        while text.stop_reason is None and not any(each in made for each in stops):
            text.take(model.next_logits(text.ids))
            made = self._found.tokenizer.decode(text.new_ids)
        return str(postprocess_generated_text(made, stops, None))
