"""`vox mens check-served`: the same prompts through a server and through us. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vox_populi.data.asked_rows import open_measured_rows, shown_asked
from vox_populi.data.row_files.row_file import FileRow
from vox_populi.data.row_formats import parse_row
from vox_populi.data.supervision import chosen_form, encode_prompt
from vox_populi.data.token_text import TokenTexts
from vox_populi.errors import DataError
from vox_populi.evals.probe_chats import BUILT_IN, ProbeChat, probe_of_row
from vox_populi.evals.served_forms import (
    ServedAnswer,
    ServedModels,
    ServerKind,
    ask_answer,
    choose_served,
)
from vox_populi.evals.served_pairs import OwnAnswer, ServedPair, until_stop
from vox_populi.evals.served_verdict import ServedVerdict
from vox_populi.evals.server_client import ServerClient
from vox_populi.files.file_digest import digest_of_files
from vox_populi.infer.continuation import StopReason
from vox_populi.infer.force_text import force_text
from vox_populi.infer.forced_text import ForcedText
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import check_served as say
from vox_populi.pipeline.answers import Answerer, answer_threads, longest_prompt, stop_ids
from vox_populi.pipeline.check_served import CheckServedReport, CheckServedRequest
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights


def check_served(
    request: CheckServedRequest, client: ServerClient, models: ServedModels
) -> CheckServedReport:
    """Compare.

    Args:
        request: What to compare.
        client: The server.
        models: What it lists.

    Raises:
        VoxError: As `pipeline.check_served.check_served` says.
    """
    found = find_weights(request.weights)
    adapter = found.adapter
    digest = None if adapter is None else digest_of_files(adapter.files)
    name = found.name if adapter is None else Path(adapter.where).parent.name
    served = choose_served(models, request.served_model, name, digest)
    chats, notes = _asked_chats(request, found)
    with on_device(found.device.device, answer_threads(found, request.weights.threads)):
        comparer = _Comparer(found, load_weights(found), request.max_new_tokens)
        pairs = tuple(
            comparer.pair(chat, ids, _ask(client, models.kind, served, chat, request))
            for chat, ids in chats
        )
    texts = TokenTexts(found.tokenizer)
    return CheckServedReport(
        url=client.url,
        server=models.kind.value,
        served_model=served,
        model=found.name,
        adapter=None if adapter is None else name,
        verdict=ServedVerdict(
            pairs=pairs,
            allowed=request.rounding,
            show=lambda ids: repr("".join(each.text for each in texts.of(ids))),
            most_tokens=request.max_new_tokens,
        ),
        weights_notes=(*found.notes, *notes),
    )


def _ask(
    client: ServerClient,
    kind: ServerKind,
    model: str,
    chat: ProbeChat,
    request: CheckServedRequest,
) -> ServedAnswer:
    return ask_answer(client, kind, model, chat.as_json(), request.max_new_tokens)


def _asked_chats(
    request: CheckServedRequest, found: FoundWeights
) -> tuple[list[tuple[ProbeChat, list[int]]], tuple[str, ...]]:
    """Conversations with their ids as trained, and which built-in ones are left out."""
    most = min(longest_prompt(found), found.inventory.config.max_positions - request.max_new_tokens)
    chats: list[tuple[ProbeChat, list[int]]] = []
    notes: list[str] = []
    for chat in _chats(request, found):
        try:
            ids = encode_prompt(chat.messages, found.tokenizer, found.policy, chat.tools)
        except DataError as error:
            notes.append(say.note_prompt_left_out(chat.name, error.problems[0].what))
            continue
        if 0 < len(ids) <= most:
            chats.append((chat, ids))
        else:
            notes.append(say.note_prompt_left_out(chat.name, f"it has {len(ids)} tokens"))
    if not chats:
        where = shown_asked(request.data) if request.data else found.name
        raise DataError(say.NO_PROMPTS.at(where))
    return chats, tuple(notes)


def _chats(request: CheckServedRequest, found: FoundWeights) -> Iterator[ProbeChat]:
    if request.data:
        return islice(_chats_of_rows(request, found), request.count)
    return iter(BUILT_IN)


def _chats_of_rows(request: CheckServedRequest, found: FoundWeights) -> Iterator[ProbeChat]:
    for row in open_measured_rows(request.data).scan():
        if not isinstance(row, FileRow):
            raise DataError(row)
        record = chosen_form(parse_row(row.value, row.line, row.where), found.policy)
        chat = probe_of_row(record, row.place)
        if chat is not None:
            yield chat


@dataclass(slots=True)
class _Comparer:
    """Loaded weights that read what a server wrote."""

    found: FoundWeights
    objective: AdaptedObjective[CausalGraph]
    most_tokens: int

    def pair(self, chat: ProbeChat, prompt_ids: list[int], served: ServedAnswer) -> ServedPair:
        """A prompt with both views of the server's answer."""
        base = None
        if self.found.adapter is not None:
            base = self._view(prompt_ids, served, self.objective.adapters_off())
        return ServedPair(
            name=chat.name,
            prompt_ids=tuple(prompt_ids),
            served=served,
            stop_ids=stop_ids(self.found),
            ours=self._view(prompt_ids, served, nullcontext()),
            base=base,
        )

    def _view(
        self, prompt_ids: list[int], served: ServedAnswer, weights: AbstractContextManager[None]
    ) -> ForcedText | OwnAnswer | None:
        """The scores of the server's ids after its own prompt, or our answer to ours."""
        if served.prompt_ids is None and served.n_prompt not in (None, len(prompt_ids)):
            return None
        with weights:
            if served.ids is None:
                return self._answer(prompt_ids)
            ends = stop_ids(self.found)
            ids = until_stop(served.ids, ends)
            context = prompt_ids if served.prompt_ids is None else served.prompt_ids
            return force_text(self.objective.model, context, ids, ends)

    def _answer(self, prompt_ids: list[int]) -> OwnAnswer:
        # A new one: what it has read with the adapter is not what it reads without.
        answerer = Answerer(self.found, self.objective.model)
        made = answerer.answer(prompt_ids, self.most_tokens, SamplingSpec())
        ended = made.stop_reason is StopReason.STOP_TOKEN
        return OwnAnswer(text=answerer.decode(made.ids), ended=ended)
