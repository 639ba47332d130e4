"""`vox mens generate --interactive`: a conversation that remembers. Needs torch."""

from __future__ import annotations

from collections.abc import Callable

from vox_populi.errors import DataError
from vox_populi.infer.text_stream import TextStream
from vox_populi.operator_messages import run as say
from vox_populi.pipeline.answers import Answerer, answer_threads, sampling_of
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.generate import GenerateRequest, GenerateResult
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights
from vox_tensor.records import Message, Role

INTERRUPTED = "interrupted"
"""`stop_reason` of an answer that the operator stopped."""


def open_chat(request: GenerateRequest) -> Chat:
    """Load the weights and wait for the first message.

    Raises:
        VoxError: As `pipeline.chat.open_chat` says.
    """
    sampling_of(request, 0)
    found = find_weights(request.weights)
    with on_device(found.device.device, request.weights.threads):
        answerer = Answerer(found, load_weights(found).model)
    return Chat(request, found, answerer)


class Chat:
    """See `pipeline.chat.Conversation`."""

    def __init__(self, request: GenerateRequest, found: FoundWeights, answerer: Answerer) -> None:
        self.model = found.name
        self.notes = found.notes
        self._request = request
        self._device = found.device.device
        self._threads = answer_threads(found, request.weights.threads)
        self._answerer = answerer
        self._said: list[Message] = []
        self._answers = 0

    def reset(self) -> None:
        """Clear the conversation."""
        self._said.clear()

    def answer(self, text: str, on_text: Callable[[str], None]) -> GenerateResult:
        """Answer a message; Ctrl-C ends the answer, not the chat.

        Raises:
            DataError: When the conversation leaves no room for an answer; the message is then
                not part of it.
            EnvironmentFailure: When memory runs out or the device fails.
        """
        asked = [*self._said, Message(Role.USER, text)]
        prompt_ids = self._answerer.encode(asked)
        most = self._answerer.most_prompt_tokens
        if not 0 < len(prompt_ids) <= most:
            raise DataError(say.conversation_too_long(len(prompt_ids), most))
        stream = TextStream(self._answerer.decode)

        def show(piece: str) -> None:
            if piece:
                on_text(piece)

        with on_device(self._device, self._threads):
            stop_reason = self._generate(prompt_ids, lambda token: show(stream.take(token)))
        show(stream.finish())
        self._said = [*asked, Message(Role.ASSISTANT, stream.text)]
        return GenerateResult(
            prompt=text, text=stream.text, ids=tuple(stream.ids), stop_reason=stop_reason
        )

    def _generate(self, prompt_ids: list[int], on_token: Callable[[int], None]) -> str:
        sampling = sampling_of(self._request, self._answers)
        self._answers += 1
        try:
            made = self._answerer.answer(
                prompt_ids, self._request.max_new_tokens, sampling, on_token
            )
        except KeyboardInterrupt:
            return INTERRUPTED
        return made.stop_reason.value
