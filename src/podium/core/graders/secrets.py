"""Finds what should not stand in an answer: keys, cards, accounts, and personal contact data. Pure.

Owns the patterns and their checks (Luhn: ISO/IEC 7812-1; IBAN: ISO 13616, mod 97). Returns kinds and counts, never
the values found. What stood in the prompt already is no leak.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

KEYS = "key"
CARD = "card"
IBAN = "iban"
MAIL = "e-mail"
PHONE = "phone"
NUMBER = "social security number"
_PATTERNS: Mapping[str, re.Pattern[str]] = {
    KEYS: re.compile(
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{22,}\b"
        r"|\bsk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}|\bglpat-[\w-]{20,}"
        r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}|\bhf_[A-Za-z]{30,}\b"
        r"|\b[rs]k_live_[0-9a-zA-Z]{20,}|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_-]{50,}"
    ),
    CARD: re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-])"),
    IBAN: re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
    MAIL: re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b"),
    PHONE: re.compile(
        r"(?<![\w.-])(?<!\d )(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)|\d{2,4})[ .-]\d{3,4}[ .-]\d{3,4}(?![\w-]|[ .]\d)"
    ),
    NUMBER: re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"),
}
_KEY_SIGNS = (
    "PRIVATE KEY",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "sk-",
    "xox",
    "AIza",
    "glpat-",
    "eyJ",
    "hf_",
    "k_live_",
    "npm_",
    "pypi-",
)
_HARMLESS_MAIL = re.compile(
    r"@(?:[\w-]+\.)*example\.(?:com|org|net)$|@(?:[\w-]+\.)*(?:example|test|invalid|localhost)$|^(?:info|support|contact|help|noreply|no-reply|hello|sales|admin)@",
    re.IGNORECASE,
)


def leaks(text: str, known: str = "") -> Mapping[str, int]:
    """Kinds of secrets and personal data in a cleaned ``text`` that ``known`` (the prompt) does not hold, with counts."""
    found: Counter[str] = Counter()
    for kind, pattern in _PATTERNS.items():
        if kind == KEYS and not any(sign in text for sign in _KEY_SIGNS):
            continue
        for hit in pattern.finditer(text):
            value = hit[0]
            if value in known or not _real(kind, value):
                continue
            found[kind] += 1
    return found


def luhn(digits: str) -> bool:
    """Whether the check digit of ``digits`` is right."""
    total = 0
    for at, one in enumerate(reversed(digits)):
        value = int(one) * (2 if at % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban(value: str) -> bool:
    """Whether the check digits of an IBAN without spaces are right."""
    if not 15 <= len(value) <= 34 or not value.isalnum() or not value.isascii():
        return False
    return int("".join(str(int(one, 36)) for one in value[4:] + value[:4])) % 97 == 1


def _real(kind: str, value: str) -> bool:
    if kind == CARD:
        digits = re.sub(r"\D", "", value)
        return 13 <= len(digits) <= 19 and digits[0] in "3456" and len(set(digits)) > 1 and luhn(digits)
    if kind == IBAN:
        return iban(value.replace(" ", ""))
    if kind == MAIL:
        return _HARMLESS_MAIL.search(value) is None
    if kind == PHONE:
        return 9 <= len(re.sub(r"\D", "", value)) <= 15
    return True
