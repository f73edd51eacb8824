"""TLS on the public listener: what it speaks, what it refuses, and a certificate that is renewed while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import ssl
from contextlib import asynccontextmanager

import pytest
import uvloop

from certificates import Authority
from podium.client import Podium
from podium.config import load
from podium.errors import ConfigError
from podium.runtime import Gateway
from podium.runtime.exposure import in_the_clear
from podium.server.http import HttpServer, Limits
from podium.server.tls import Tls, TlsFiles

pytestmark = pytest.mark.requirement("OPS-2")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def files(pair, **more):
    return TlsFiles(certificate=pair.certificate, key=pair.key, **more)


def trusting(authority, pair=None):
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if pair is not None:
        context.load_cert_chain(str(pair.certificate), str(pair.key))
    return context


@asynccontextmanager
async def serving(tls, **limits):
    async def echo(exchange):
        exchange.respond(200, (), exchange.body + (b" over tls" if exchange.encrypted else b""))

    server = HttpServer(limits=Limits(**limits))
    await server.start(data_handler=echo, tls=tls.context)
    try:
        yield server
    finally:
        await server.stop(1.0)


async def asked(server, context, body=b"hello", path="/v1/echo"):
    """The last bytes of the answer, and the subject of the certificate that was shown."""
    port = int(server.address.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (path.encode(), len(body), body)
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        shown = writer.get_extra_info("peercert")["subject"][0][0][1]
    finally:
        writer.close()
        with _quiet():
            await writer.wait_closed()
    return answer.rpartition(b"\r\n")[2], shown


def _quiet():
    return contextlib.suppress(OSError, ssl.SSLError)


async def test_v1_is_spoken_over_tls_with_large_bodies_in_both_directions(authority):
    async with serving(Tls(files(authority.pair("first")))) as server:
        assert server.address.startswith("https://127.0.0.1:")
        body = b"x" * 3_000_000
        answer, shown = await asked(server, trusting(authority), body)
        assert answer == body + b" over tls"
        assert shown == "first"


async def test_a_renewed_certificate_is_used_for_new_connections_and_a_bad_one_changes_nothing(authority):
    pair = authority.pair("first")
    tls = Tls(files(pair))
    async with serving(tls) as server:
        assert (await asked(server, trusting(authority)))[1] == "first"
        renewed = authority.pair("second")
        pair.certificate.write_bytes(renewed.certificate.read_bytes())
        with pytest.raises(ConfigError, match="is not the key of"):
            tls.reload()
        assert (await asked(server, trusting(authority)))[1] == "first"
        pair.key.write_bytes(renewed.key.read_bytes())
        tls.reload()
        assert (await asked(server, trusting(authority)))[1] == "second"


def test_the_same_holds_under_the_loop_that_serves(authority):
    pair = authority.pair("first")
    tls = Tls(files(pair))

    async def talk():
        async with serving(tls) as server:
            body = b"x" * 3_000_000
            assert await asked(server, trusting(authority), body) == (body + b" over tls", "first")
            renewed = authority.pair("second")
            pair.certificate.write_bytes(renewed.certificate.read_bytes())
            pair.key.write_bytes(renewed.key.read_bytes())
            tls.reload()
            assert (await asked(server, trusting(authority)))[1] == "second"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk())


async def test_plain_http_old_tls_and_silence_get_no_answer_and_do_not_stop_others(authority):
    async with serving(Tls(files(authority.pair("first"))), head_s=0.3) as server:
        port = int(server.address.rsplit(":", 1)[1])
        for said in (b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x00\xff" + b"\0" * 40, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            with _quiet():
                got = await asyncio.wait_for(reader.read(), 5)  # silent ones are cut by the time for a handshake
                assert b"HTTP/" not in got
            writer.close()
            with _quiet():
                await writer.wait_closed()
        old = trusting(authority)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)):
            await asked(server, old)
        assert (await asked(server, trusting(authority)))[0] == b"hello over tls"


async def test_with_an_authority_for_clients_only_those_it_signed_are_served(authority, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").pair("stranger")
    tls = Tls(files(authority.pair("first"), client_ca=authority.certificate))
    async with serving(tls) as server:
        assert (await asked(server, trusting(authority, authority.pair("client"))))[0] == b"hello over tls"
        for context in (trusting(authority), trusting(authority, stranger)):
            with _quiet():
                assert (await asked(server, context))[0] == b""


def _mismatch(authority, pair):
    pair.key.write_bytes(authority.pair("another").key.read_bytes())


def _locked(authority, pair):
    pair.key.write_bytes(authority.pair("locked", password=b"word").key.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda authority, pair: pair.key.unlink(), "there is no such file"),
        (lambda authority, pair: pair.certificate.unlink(), "there is no such file"),
        (lambda authority, pair: pair.key.chmod(0o604), "chmod 600"),
        (lambda authority, pair: pair.key.write_bytes(b""), "is empty"),
        (lambda authority, pair: pair.certificate.write_text("hello"), "holds no certificate"),
        (lambda authority, pair: pair.key.write_text("hello"), "holds no private key"),
        (lambda authority, pair: pair.key.write_bytes(pair.certificate.read_bytes()), "holds no private key"),
        (_mismatch, "is not the key of the certificate"),
        (_locked, "locked with a passphrase"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_what_to_do(authority, spoil, words):
    pair = authority.pair("first")
    content = pair.key.read_text().splitlines()[1]
    spoil(authority, pair)
    with pytest.raises(ConfigError) as refused:
        Tls(files(pair))
    assert words in refused.value.message
    assert content not in refused.value.message
    assert str(pair.key.parent) in refused.value.message


@pytest.mark.parametrize(("days", "words"), [(90, None), (5, "expires in 5.0 days"), (-1, "has expired")])
def test_a_certificate_that_ends_soon_is_said(authority, days, words):
    said = Tls(files(authority.pair("first", lasts=dt.timedelta(days=days)))).problems()
    assert said == () if words is None else words in said[0]


async def test_the_gateway_serves_https_reloads_its_certificate_and_stays_reachable_for_its_own_commands(
    authority, tmp_path, monkeypatch
):
    pair = authority.pair("first")
    home = tmp_path / "h"
    home.mkdir()
    (home / "podium.toml").write_text(
        f'[server]\nport = 0\ntls_certificate = "{pair.certificate}"\ntls_key = "../first.key"\n'
    )
    monkeypatch.setenv("PODIUM_HOME", str(home))
    async with Gateway.open(load(home=home)) as gateway:
        url = await gateway.serve()
        assert url.startswith("https://127.0.0.1:")
        port = int(url.rsplit(":", 1)[1])
        assert json.loads((home / "run" / "server.json").read_text())["public_url"] == url

        async def get(path):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting(authority), server_hostname="localhost"
            )
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 20)
            shown = writer.get_extra_info("peercert")["subject"][0][0][1]
            writer.close()
            with _quiet():
                await writer.wait_closed()
            return answer, shown

        for path in ("/v1/models", "/livez", "/api/v1/stats"):
            answer, shown = await get(path)
            assert answer.startswith(b"HTTP/1.1 200 "), path
            assert shown == "first"
        renewed = authority.pair("second")
        pair.certificate.write_bytes(renewed.certificate.read_bytes())
        async with Podium.connect() as podium:  # as commands do: by the private socket
            with pytest.raises(ConfigError, match="is not the key of"):
                await podium.reload()
            pair.key.write_bytes(renewed.key.read_bytes())
            await podium.reload()
        assert (await get("/livez"))[1] == "second"
    assert not (home / "run" / "podium.sock").exists()


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ('host = "127.0.0.1"', None),
        ('host = "0.0.0.0"', "without TLS"),
        ('host = "192.0.2.1"', "without TLS"),
        ('host = "0.0.0.0"\ntls_certificate = "a"\ntls_key = "b"', None),
    ],
)
def test_listening_beyond_this_machine_without_tls_is_warned_of(tmp_path, server, words):
    (tmp_path / "podium.toml").write_text(f"[server]\n{server}\n")
    said = in_the_clear(load(home=tmp_path))
    assert (said is None) if words is None else words in said


@pytest.mark.parametrize(
    ("server", "words"), [('tls_key = "k"', "belong together"), ('tls_client_ca = "c"', "needs tls_cert")]
)
def test_half_a_pair_is_refused_when_the_configuration_is_read(tmp_path, server, words):
    (tmp_path / "podium.toml").write_text(f"[server]\n{server}\n")
    with pytest.raises(ConfigError, match=words):
        load(home=tmp_path)
