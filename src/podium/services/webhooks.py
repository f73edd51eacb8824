"""All webhooks of one gateway: which there are, that each is seen to, how they are doing.

The outbox is filled by the store together with each event; what happens to it is the business of one ``Courier`` each,
so that none waits for another.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from podium.domain.swap import Event
from podium.errors import NotFound
from podium.ports import Clock, DeliveryStore, Poster
from podium.services.webhook_courier import Attempted, Courier, Hook, HookView
from podium.services.webhook_signing import body


class Webhooks:
    """All webhooks of one gateway, used from its event loop only. ``draw`` gives uniform numbers in [0, 1)."""

    def __init__(
        self,
        *,
        store: DeliveryStore,
        poster: Poster,
        clock: Clock,
        publish: Callable[[Event], None],
        draw: Callable[[], float],
    ) -> None:
        self._store = store
        self._poster = poster
        self._clock = clock
        self._publish = publish
        self._draw = draw
        self._couriers: dict[str, Courier] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._started = False

    async def configure(self, hooks: Sequence[Hook]) -> None:
        """Put these in the place of all. What waits for one that is no more is given up, on record.

        One that is as it was goes on undisturbed, unless it answered 410: then it is asked again. Raises ``StoreError``.
        """
        await self._store.subscribe_webhooks({hook.name: hook.events for hook in hooks})
        old, self._couriers = self._couriers, {}
        for hook in hooks:
            before = old.get(hook.name)
            if before is not None and before.hook == hook and not before.gone:
                self._couriers[hook.name] = before
                continue
            courier = self._couriers[hook.name] = self._courier(hook)
            if before is not None:
                courier.delivered, courier.failed, courier.given_up = before.delivered, before.failed, before.given_up
        await self._stop([name for name, courier in old.items() if self._couriers.get(name) is not courier])
        for name in await self._store.waiting_deliveries():
            if name not in self._couriers:
                left = self._courier(Hook(name=name, url="", shown="", events=()))
                await left.drop("it is not in the configuration any more")
        if self._started:
            self.start()

    def start(self) -> None:
        """Begin to deliver; call inside the event loop."""
        self._started = True
        for name, courier in self._couriers.items():
            if name not in self._running:
                self._running[name] = asyncio.create_task(courier.run(), name=f"podium-webhook-{name}")

    def wake(self) -> None:
        """New events are on record."""
        for courier in self._couriers.values():
            courier.wake()

    async def close(self) -> None:
        """Stop delivering; what waits stays in the outbox."""
        self._started = False
        await self._stop(list(self._running))

    async def _stop(self, names: Sequence[str]) -> None:
        running = [self._running.pop(name) for name in names if name in self._running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _courier(self, hook: Hook) -> Courier:
        return Courier(
            hook,
            store=self._store,
            poster=self._poster,
            clock=self._clock,
            publish=self._publish,
            draw=self._draw,
            on_gone=self._subscribe,
        )

    async def _subscribe(self) -> None:
        """Have queued what those want that can still be told."""
        wanting = {name: courier.hook.events for name, courier in self._couriers.items() if not courier.gone}
        await self._store.subscribe_webhooks(wanting)

    async def test(self, name: str, message_id: str, event: Event) -> Attempted:
        """Call a webhook once, now, past its outbox. Raises ``NotFound``."""
        courier = self._couriers.get(name)
        if courier is None:
            raise NotFound(f"there is no webhook {name[:64]!r}; `podium webhooks ls` lists them")
        if courier.hook.problem is not None:
            return Attempted(ok=False, status=None, error=courier.hook.problem, took_ms=0.0)
        return await courier.attempt(message_id, body(event, None))

    async def views(self) -> tuple[HookView, ...]:
        """How each is doing, by name."""
        waiting = await self._store.waiting_deliveries() if self._couriers else {}
        found = []
        for name in sorted(self._couriers):
            count, oldest = waiting.get(name, (0, math.nan))
            found.append(self._couriers[name].view(count, oldest if count else None))
        return tuple(found)

    def problems(self) -> tuple[str, ...]:
        """What keeps webhooks from being called at all."""
        return tuple(f"webhook {c.hook.name}: {c.hook.problem}" for c in self._couriers.values() if c.hook.problem)
