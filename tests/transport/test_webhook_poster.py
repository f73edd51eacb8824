"""Calls over TLS go to the address that was checked, and the certificate must still be the name's."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podium.errors import Forbidden, ProviderTimeout, ProviderUnreachable
from podium.transport.webhook import WebhookPoster

pytestmark = pytest.mark.requirement("SWP-10")
OK = b"HTTP/1.1 204 No Content\r\nRetry-After: 7\r\n\r\n"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For the name ``localhost`` only, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl, which is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    made = ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *made]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@pytest.fixture
async def poster() -> AsyncIterator[WebhookPoster]:
    made = WebhookPoster()
    yield made
    await made.close()


@pytest.fixture
async def secure(certificate: tuple[Path, Path]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """(port, requests) of a TLS server on 127.0.0.1."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append(head)
        writer.write(OK)
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], heard
    server.close()
    await server.wait_closed()


async def post(poster: WebhookPoster, url: str, timeout_s: float = 5.0) -> tuple[int, str | None]:
    answer = await poster.post(url, {"x-test": "1"}, b"{}", timeout_s=timeout_s, allow_link_local=False)
    return answer.status, answer.retry_after


async def test_a_name_with_a_certificate_of_its_own_is_called(poster, secure, certificate, monkeypatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    port, heard = secure
    assert await post(poster, f"https://localhost:{port}/a b?c=d") == (204, "7")
    assert heard[0].startswith(b"POST /a%20b?c=d HTTP/1.1\r\nhost: localhost:")


async def test_a_certificate_of_another_name_is_refused(poster, secure, certificate, monkeypatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    port, heard = secure
    with pytest.raises(ProviderUnreachable):
        await post(poster, f"https://127.0.0.1:{port}/")
    assert heard == []


async def test_a_certificate_nobody_vouches_for_is_refused(poster, secure) -> None:
    with pytest.raises(ProviderUnreachable, match=r"is not trusted .* SSL_CERT_FILE"):
        await post(poster, f"https://localhost:{secure[0]}/")
    assert secure[1] == []


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def found(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("podium.transport.webhook.socket.getaddrinfo", found)


async def test_a_name_that_leads_to_a_metadata_service_is_not_called(poster, monkeypatch) -> None:
    resolving(monkeypatch, "169.254.169.254")
    with pytest.raises(Forbidden, match="metadata"):
        await post(poster, "http://innocent.example/token")


async def test_of_several_addresses_only_the_harmless_ones_are_called(poster, monkeypatch) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolving(monkeypatch, "169.254.169.254", "127.0.0.1")
    assert (await post(poster, f"http://rebound.example:{port}/"))[0] == 204
    assert b"host: rebound.example:" in heard[0], "the name is still what is asked for"
    server.close()
    await server.wait_closed()


async def test_a_name_that_does_not_resolve_in_time_ends_in_time(poster, monkeypatch) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*_: object, **__: object) -> list[object]:
        asyncio.run_coroutine_threadsafe(ended.wait(), loop).result(10)
        return []

    monkeypatch.setattr("podium.transport.webhook.socket.getaddrinfo", slow)
    try:
        with pytest.raises(ProviderTimeout):
            await post(poster, "http://slow.example/secret-path", timeout_s=0.2)
    finally:
        ended.set()
