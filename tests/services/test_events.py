"""Events reach the record and whoever listens; a slow listener loses its oldest and holds up nobody."""

from __future__ import annotations

import asyncio

from podium.domain.swap import Event
from podium.services.events import EventBus


def event(number: int) -> Event:
    return Event(kind="tick", at=float(number), subject="test")


async def take(listener: object, count: int) -> list[float]:
    found = []
    async with asyncio.timeout(5):
        async for item in listener:  # type: ignore[attr-defined] # a listener is iterable, as the test is about to show
            found.append(item.at)
            if len(found) == count:
                break
    return found


async def test_an_emitted_event_is_recorded_and_heard_a_published_one_only_heard() -> None:
    recorded: list[Event] = []
    bus = EventBus(recorded.append)
    listener = bus.subscribe()
    bus.emit(event(1))
    bus.publish(event(2))
    assert [item.at for item in recorded] == [1.0]
    assert await take(listener, 2) == [1.0, 2.0]


async def test_a_listener_waits_until_something_happens() -> None:
    bus = EventBus(lambda _: None)
    listener = bus.subscribe()
    waiting = asyncio.create_task(take(listener, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.publish(event(7))
    assert await waiting == [7.0]


async def test_a_slow_listener_loses_its_oldest_events_is_told_how_many_and_holds_up_nobody() -> None:
    bus = EventBus(lambda _: None)
    slow, gone = bus.subscribe(), bus.subscribe()
    bus.unsubscribe(gone)
    bus.unsubscribe(gone)
    for number in range(1005):
        bus.publish(event(number))
    assert slow.lost == 5
    assert gone.lost == 0
    assert await take(slow, 1000) == [float(number) for number in range(5, 1005)]
