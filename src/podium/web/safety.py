"""What makes a browser keep to our pages: the headers of every answer, and the cookie of a session."""

from __future__ import annotations

from podium.server.browsers import COOKIE, LONGEST_S

CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
UNCACHED = {**HEADERS, "cache-control": "no-store"}
FOR_EVER = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}


def cookie(value: str, port: int, *, tls: bool) -> str:
    """``Set-Cookie`` of a session; an empty ``value`` takes it away. Named by port: cookies know none."""
    age = int(LONGEST_S) if value else 0
    secure = "; Secure" if tls else ""
    return f"{COOKIE}_{port}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"


def address_within(given: str) -> str:
    """Where to go after signing in: a path of ours, nothing that a browser reads as another site."""
    plain = given.startswith("/") and not given.startswith(("//", "/\\")) and given.isprintable() and "\\" not in given
    return given if plain else "/"
