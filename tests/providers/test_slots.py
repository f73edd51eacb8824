"""How many requests a server works on is asked of it; where it does not say, the number is marked as a guess."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from provider_calls import version_of

from podium.domain.model import Source
from podium.providers.openai_compatible import DEFAULT_CONCURRENCY, OpenAICompatibleProvider

pytestmark = pytest.mark.requirement("POOL-7", "PRV-4")
MODELS = {"object": "list", "data": [{"id": "m"}]}


@pytest.fixture
def serve():
    """``serve(path=answer, …)``: an address where those paths are answered; ``.asked`` are (path, key)."""
    servers = []

    def start(**answers):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append((self.path, self.headers["authorization"]))
                answer = answers.get(self.path.strip("/").replace("/", "_"))
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


async def parallelism(context, server, base="/v1", **settings):
    provider = OpenAICompatibleProvider(context)
    source = Source(provider="openai", location=f"http://127.0.0.1:{server.server_address[1]}{base}", settings=settings)
    instance = await provider.load(version_of(source, await provider.inspect(source)), "one")
    await instance.unload()
    return instance.concurrency, instance.adaptive


async def test_llama_server_says_its_slots_beside_its_api(context, serve):
    assert await parallelism(context, serve(v1_models=MODELS, props={"total_slots": 6})) == (6, False)
    behind = serve(llm_v1_models=MODELS, llm_props={"total_slots": 5}, props={"total_slots": 6})
    assert await parallelism(context, behind, "/llm/v1") == (5, False)


@pytest.mark.parametrize(
    "props",
    [None, b"<html>", {}, [], {"total_slots": 0}, {"total_slots": -1}, {"total_slots": True}, {"total_slots": "8"},
     {"total_slots": 10**9}, {"total_slots": 2.5}, b"\xff\xfe"],
)  # fmt: skip
async def test_any_other_answer_leaves_a_guess_that_may_be_corrected(context, serve, props):
    assert await parallelism(context, serve(v1_models=MODELS, props=props)) == (DEFAULT_CONCURRENCY, True)


async def test_what_the_user_says_is_not_asked_again_when_it_is_loaded(context, serve):
    server = serve(v1_models=MODELS, props={"total_slots": 6})
    assert await parallelism(context, server, concurrency=2) == (2, False)
    assert [path for path, _ in server.asked].count("/props") == 1  # to know what it serves


async def test_a_server_behind_a_key_is_asked_with_it(context, serve):
    server = serve(v1_models=MODELS, props={"total_slots": 6})
    keyed = type(context)(home=context.home, environ={**context.environ, "THE_KEY": "k1"})
    assert await parallelism(keyed, server, api_key_env="THE_KEY") == (6, False)
    assert {key for _, key in server.asked} == {"Bearer k1"}
