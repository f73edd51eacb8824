"""The embedded llama.cpp worker: hosts one GGUF on a private unix socket until it is stopped.

Run as ``python -m podium.providers.llamacpp_worker READY_FD``. Its order comes as one line of JSON on standard
input, where no other user can read it. It serves only callers who know the key, on a socket in a directory only
this user can enter, and writes one byte to READY_FD once it listens.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any


def main() -> None:
    """Load, listen, say so, wait for the end."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    import xllamacpp  # noqa: PLC0415 - after the order is read, so that a missing package is a clear message

    server = xllamacpp.Server(parameters(xllamacpp.CommonParams(), order))
    ready = int(sys.argv[1])
    os.write(ready, b"1")
    os.close(ready)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    del server
    os._exit(0)  # the library's own teardown may take seconds; there is nothing left to save


def parameters(params: Any, order: dict[str, Any]) -> Any:
    """llama.cpp's parameters for one order (see ``llamacpp.py`` for its fields)."""
    params.model.path = order["path"]
    params.model_alias = {order["alias"]}
    params.hostnames = [order["socket"]]
    params.api_keys = [order["key"]]
    params.n_ctx = order["context"] * order["slots"]
    params.n_parallel = order["slots"]
    params.cpuparams.n_threads = order["threads"]
    params.cpuparams_batch.n_threads = order["threads"]
    params.cpuparams.poll = 0  # waiting threads sleep: a spinning one would starve its neighbours
    params.cpuparams_batch.poll = 0
    params.n_threads_http = order["slots"] + 2
    params.embedding = order["embedding"]
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.fit_params = False
    params.warmup = True
    params.cache_ram_mib = 0  # an unbounded prompt cache would not be in the memory plan
    if order.get("chat_template"):
        params.chat_template = order["chat_template"]
    for name, field in (
        ("temperature", "temp"),
        ("top_k", "top_k"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("seed", "seed"),
    ):
        if order.get(name) is not None:
            setattr(params.sampling, field, order[name])
    return params


if __name__ == "__main__":
    main()
