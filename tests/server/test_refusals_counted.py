"""Requests that are refused before any model is asked are counted by reason, with as many series as there are kinds."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from podium import errors
from podium.errors import InvalidRequest, PodiumError, ProviderRejected, RateLimited, Unauthenticated
from podium.server.metrics import Metrics, Refused
from podium.services.request_log import Refusals

pytestmark = pytest.mark.requirement("OPS-7")


def test_refusals_are_counted_by_the_kind_of_error_and_never_by_what_a_caller_or_server_sent() -> None:
    refusals = Refusals()
    refusals.note("r", Unauthenticated("no such key"))
    refusals.note("r", InvalidRequest("no JSON"))
    for number in range(10_000):
        refusals.note("r", ProviderRejected("no", code=f"theirs-{number}"))
        refusals.note("r", InvalidRequest("no", code=f"ours-{number}"))
    assert refusals.counts == {
        Unauthenticated.code: 1,
        InvalidRequest.code: 10_001,
        ProviderRejected.code: 10_000,
    }
    kinds = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PodiumError)}
    assert set(refusals.counts) <= kinds
    assert len(kinds) < 60


def test_the_page_has_one_series_for_each_reason() -> None:
    refusals = Refusals()
    metrics = Metrics()
    metrics._registry.register(Refused(refusals.counts))
    refusals.note("r", RateLimited("slow down"))
    refusals.note("r", RateLimited("slow down"))
    page, _ = metrics.page("text/plain")
    found = {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(page.decode())
        if family.name == "podium_refused_requests"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert found == {RateLimited.code: 2.0}
