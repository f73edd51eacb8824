"""What a server supports is what its answers show, found out with calls of one token each."""

from __future__ import annotations

import pytest
from provider_calls import chat, version_of
from server_answers import MODEL, Fake

from podium.domain.model import Source
from podium.errors import InvalidRequest, LoadFailed, ProviderError
from podium.providers.catalogue import ProviderContext
from podium.providers.openai_compatible import OpenAICompatibleProvider
from podium.providers.servers import by_name

pytestmark = pytest.mark.requirement("PRV-4", "REG-1")
ALL = {"chat", "completion", "tools", "json_schema", "logprobs"}


@pytest.fixture
def fake():
    made = []

    def start(name="vllm", **chat):
        made.append(Fake(name, **chat))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture
def provider(context):
    return OpenAICompatibleProvider(context)


def at(server, **settings):
    return Source(provider="openai", location=server.url, settings=settings)


async def probed(provider, server, **settings):
    facts = await provider.probe(at(server, **settings), await provider.inspect(at(server, **settings)))
    return facts.capabilities, dict(facts.evidence)


async def test_inspection_reads_the_facts_where_this_server_tells_them_and_generates_nothing(provider, fake):
    server = fake("lm-studio")
    facts = await provider.inspect(at(server))
    assert (facts.context_length, facts.quantization, facts.architecture) == (4096, "4bit", "qwen2_vl")
    assert facts.capabilities == {"chat", "completion", "tools", "json_schema", "vision"}
    assert dict(facts.evidence)["server"] == "LM Studio"
    assert server.paths("POST") == []


async def test_what_works_is_shown_by_the_answers_with_one_token_per_call(provider, fake):
    server = fake()
    capabilities, evidence = await probed(provider, server)
    assert capabilities == ALL
    assert evidence["tools"] == "probed, works: the prompt grew from 9 to 70 tokens"
    assert evidence["json_schema"] == "probed, works: its first token opened an object"
    assert evidence["stream_options"].startswith("probed, works")
    assert evidence["context_length"] == "GET /v1/models: data.@.max_model_len"
    posts = [body for method, _, body in server.asked if method == "POST"]
    assert server.generated == len(posts) <= 7
    assert {body["model"] for body in posts} == {MODEL}


@pytest.mark.parametrize(
    ("chat", "feature", "why"),
    [
        ({"tools": False}, "tools", "accepted and left out: the prompt had 9 tokens with and without"),
        ({"tools": "refused"}, "tools", "HTTP 500: tools param requires --jinja flag"),
        ({"schema": False}, "json_schema", "accepted and ignored: its first token was 'Hello'"),
        ({"logprobs": False}, "logprobs", "accepted and left out"),
        ({"completions": False}, "completion", "HTTP 404"),
        ({"completions": "breaks"}, "completion", "no answer: http://127.0.0.1"),
    ],
)
async def test_a_field_that_is_accepted_and_ignored_is_not_a_capability(provider, fake, chat, feature, why):
    capabilities, evidence = await probed(provider, fake(**chat))
    assert capabilities == ALL - {feature}
    assert evidence[feature].startswith("probed, does not work: " + why)


@pytest.mark.parametrize("usage", [False, 0])
async def test_without_usage_what_cannot_be_shown_stands_as_documented_and_is_said(provider, fake, usage):
    capabilities, evidence = await probed(provider, fake(usage=usage))
    assert capabilities == ALL
    assert evidence["tools"].startswith("probed, not shown: accepted")
    assert evidence["usage"] == "probed, does not work: it reports no usage; tokens are estimated"
    assert evidence["stream_options"] == "probed, does not work: its stream told no usage"


async def test_a_model_that_only_embeds_is_found_out(provider, fake):
    capabilities, evidence = await probed(provider, fake(embeds=True))
    assert capabilities == {"embedding"}
    assert evidence["embedding"] == "probed, works: a vector of 3 numbers"


async def test_vision_is_tried_where_the_server_claims_it(provider, fake):
    seeing, blind = fake("lm-studio", vision=True), fake("lm-studio")
    assert "vision" in (await probed(provider, seeing))[0]
    capabilities, evidence = await probed(provider, blind)
    assert "vision" not in capabilities
    assert evidence["vision"].startswith("probed, does not work: accepted and left out")


async def test_a_busy_server_leaves_what_is_documented(provider, fake):
    capabilities, evidence = await probed(provider, fake(status=429))
    assert capabilities == ALL
    assert evidence["chat"] == "probed, not shown: HTTP 429: not now"
    assert evidence["tools"] == "not probed: as documented"


async def test_what_the_user_says_is_not_probed(provider, fake):
    server = fake()
    capabilities, _ = await probed(provider, server, capabilities=["chat"])
    assert capabilities == {"chat"}
    assert server.paths("POST") == []


async def test_a_thinking_model_whose_one_token_is_no_text_keeps_its_schema(provider, fake):
    capabilities, evidence = await probed(provider, fake(schema="silent"))
    assert "json_schema" in capabilities
    assert evidence["json_schema"] == "probed, not shown: accepted; its one token told nothing"


async def test_a_server_that_serves_another_model_under_the_name_is_not_used(provider, fake):
    server = fake("llama-server")
    version = version_of(at(server), await provider.inspect(at(server)))
    instance = await provider.load(version, "one")
    await instance.health()
    server.answers = {**server.answers, "/v1/models": {"data": [{"id": MODEL, "meta": {"n_params": 500_000_000}}]}}
    with pytest.raises(
        ProviderError, match=r"parameters was 135000000 .* is 500000000 now; register it as a new version"
    ):
        await instance.health()
    await instance.unload()
    with pytest.raises(LoadFailed, match="serves another model under this name"):
        await provider.load(version, "two")


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "/elsewhere"])
async def test_a_redirect_is_an_error_that_names_the_place_and_is_never_followed(provider, fake, target):
    server = fake()

    def redirect(handler):
        server.asked.append(("GET", handler.path, None))
        handler.send_response(302)
        handler.send_header("location", target)
        handler.send_header("content-length", "0")
        handler.end_headers()

    server._server.RequestHandlerClass.do_GET = redirect
    with pytest.raises(ProviderError, match="redirects are not followed") as caught:
        await provider.inspect(at(server))
    assert target in caught.value.message
    assert server.paths("GET") == ["/v1/models"]


@pytest.mark.parametrize("key", ["k\n", "a b", "k\r\nx-evil: 1", "ключ", "x" * 5000])
async def test_a_key_that_is_none_is_refused_by_its_variable_and_not_shown(home, fake, key):
    server = fake()
    provider = OpenAICompatibleProvider(ProviderContext(home=home, environ={"KEY": key}))
    with pytest.raises(InvalidRequest, match="variable KEY does not hold a key") as caught:
        await provider.inspect(at(server, api_key_env="KEY"))
    assert key not in caught.value.message
    assert server.asked == []


@pytest.mark.requirement("PRV-6")
async def test_openai_itself_gets_the_limit_by_its_newer_name_and_is_never_warmed_by_a_generation(
    provider, fake, monkeypatch
):
    server = fake("openai-compatible")
    hosted = by_name("openai")
    monkeypatch.setattr("podium.providers.openai_compatible.hosted_at", lambda host: hosted)
    source = at(server)
    facts = await provider.inspect(source)
    assert facts.capabilities == {"chat", "tools", "json_schema", "logprobs"}
    facts = await provider.probe(source, facts)
    assert facts.capabilities == {"chat", "tools", "json_schema", "logprobs"}
    version = version_of(source, facts)
    assert provider.hosted(version)
    assert "no key" in provider.locked(version)
    instance = await provider.load(version, "one")
    before = len(server.paths("POST"))
    await instance.warm_up()
    assert len(server.paths("POST")) == before
    await (await instance.send(chat(instance.model, max_tokens=3))).read()
    await (await instance.send(chat(instance.model, max_tokens=3, max_completion_tokens=5))).read()
    await instance.unload()
    posts = [body for method, _, body in server.asked if method == "POST"]
    assert all("max_tokens" not in body for body in posts)
    assert [body["max_completion_tokens"] for body in posts[-2:]] == [3, 5]
