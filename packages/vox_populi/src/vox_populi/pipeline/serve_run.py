"""`vox mens serve`: models in memory, an engine in a thread, HTTP before it. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace

from vox_populi.adapters.base import fitting_modules
from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.infer.adapter_switch import BASE, AdapterSwitch
from vox_populi.infer.text_batch import TextBatch
from vox_populi.operator_messages import serving as say
from vox_populi.pipeline.answers import answer_threads, stop_ids
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.interruption import stop_on_signals
from vox_populi.pipeline.load_model import FoundWeights, load_weights
from vox_populi.pipeline.serve import ServeRequest, Serving
from vox_populi.pipeline.serve_models import FoundModel, FoundModels, find_models
from vox_populi.serve.address_text import read_key
from vox_populi.serve.app import build_app
from vox_populi.serve.engine import Engine, EngineLimits, EngineModel
from vox_populi.serve.guards import Access
from vox_populi.serve.http_server import open_socket, serve_until
from vox_populi.serve.served_model import ServedModel
from vox_populi.serve.service import HttpLimits, Service


def serve(
    request: ServeRequest,
    on_ready: Callable[[Serving], None],
    acknowledge: Callable[[str], None],
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Serve until a signal.

    Raises:
        VoxError: As `pipeline.serve.serve` says.
    """
    key = read_key(request.api_key_file, request.api_key)
    found = find_models(request)
    # Before the weights: a port that is taken is known at once.
    with open_socket(request.host, request.port) as listening:
        host, port = listening.getsockname()[:2]
        engine = build_engine(request, found)
        service = Service(
            {each.name: _served(each) for each in found.models},
            engine,
            HttpLimits(
                max_tokens=request.max_new_tokens,
                max_body_bytes=request.max_body_bytes,
                timeout_secs=request.timeout_secs,
            ),
        )
        access = Access(host=request.host, key=key)
        app = build_app(service, access, request.allow_origins, has_page=request.page)

        def told(_: str) -> None:
            acknowledge(say.note_still_answering(request.grace_secs))

        with stop_on_signals(told, should_stop) as stop, ThreadPoolExecutor(1) as model_thread:
            computing = model_thread.submit(engine.run)
            on_ready(
                Serving(
                    url=f"http://{f'[{host}]' if ':' in host else host}:{port}",
                    models=tuple(service.models),
                    needs_key=key is not None,
                    notes=found.notes,
                )
            )
            try:
                serve_until(app, listening, lambda: stop() or computing.done(), request.grace_secs)
            finally:
                engine.stop()
                service.close()
            computing.result()


def build_engine(request: ServeRequest, found: FoundModels) -> Engine:
    """Load the base once, with every adapter, into an engine.

    Raises:
        VoxError: For weights that cannot be read.
    """
    weights = found.models[0].found
    threads = answer_threads(weights, request.compute.threads)

    def guarded() -> AbstractContextManager[None]:
        return on_device(weights.device.device, threads)

    with guarded():
        base = replace(weights, adapter=None, quantization=found.quantization)
        switch = AdapterSwitch(load_weights(base).model)
        models = {each.name: _engine_model(each, switch, request) for each in found.models}
    limits = EngineLimits(
        max_batch=request.max_batch,
        max_queue=request.max_queue,
        cache_tokens=max(1, (request.cache_mib << 20) // _token_bytes(weights)),
        chunk_tokens=request.chunk_tokens,
    )
    return Engine(models, switch, limits, guarded)


def _engine_model(each: FoundModel, switch: AdapterSwitch, request: ServeRequest) -> EngineModel:
    found, adapter, name = each.found, each.found.adapter, BASE
    if adapter is not None:
        modules = fitting_modules(found.inventory, adapter.adapter.header, adapter.where)
        name = each.name
        switch.keep(name, adapter.adapter.attach(switch.model, modules))
    return EngineModel(
        batch=TextBatch(switch.model, is_exact=request.is_exact),
        adapter=name,
        decode=found.tokenizer.decode,
        stop_ids=stop_ids(found),
    )


def _served(each: FoundModel) -> ServedModel:
    found = each.found
    return ServedModel(
        name=each.name,
        tokenizer=found.tokenizer,
        policy=found.policy,
        max_positions=found.inventory.config.max_positions,
        vocab_size=found.inventory.config.vocab_size,
        facts=each.facts(),
    )


def _token_bytes(found: FoundWeights) -> int:
    """Bytes of the keys and values of one token."""
    config = found.inventory.config
    values = 2 * config.n_layers * config.n_kv_heads * config.head_dim
    return values * BYTES_OF_VALUE[found.device.compute_dtype]
