"""The interfaces services talk to. Protocols and the small values that cross them; no implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from podium.domain.alert import Alert
from podium.domain.benchmark import Generated, Grade, ItemResult, Run, Suite
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.directive import Directive
from podium.domain.evidence import Evidence
from podium.domain.execution import Execution, ExecutionFilter, Standing
from podium.domain.history import TaskHistory
from podium.domain.instance import ProcessUsage
from podium.domain.judging import Queued, Tally, Waiting
from podium.domain.judgment import Calibration, Judgment
from podium.domain.knowledge import TaskKnowledge
from podium.domain.model import Facts, Lifecycle, ModelVersion, Profile, Source, Transition
from podium.domain.request import Endpoint
from podium.domain.rollout import Bar, Rollout, RolloutStep
from podium.domain.schedule import Schedule
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding, TaskSpec
from podium.domain.webhook import Backlog, Delivery, Posted


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...


# ---------------------------------------------------------------- providers


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Time limits of one call, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation sent to an instance, in OpenAI's wire format.

    ``body`` is the caller's JSON with ``model`` already replaced by the name the instance knows.
    """

    endpoint: Endpoint
    body: bytes
    stream: bool
    request_id: str
    deadlines: Deadlines = Deadlines()


class Reply(Protocol):
    """An answer under way: status and headers are known, the body may still be coming."""

    status: int
    content_type: str

    async def read(self) -> bytes:
        """The whole body. Raises ``ProviderError`` when it ends early or takes too long."""
        ...

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        """Hand every piece of the body to ``sink`` as it arrives; returns when the body is complete.

        Raises ``ProviderError`` when it ends early. Cancelling closes the connection upstream, which is how
        a generation is stopped.
        """
        ...

    def pause(self) -> None:
        """Stop reading from upstream (the client is slow)."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def close(self) -> None:
        """Give the answer up; idempotent. An incomplete one closes its connection."""
        ...


class Instance(Protocol):
    """One warm copy of a version."""

    model: str
    """The name its server knows this version by; ``Call.body`` carries it."""
    concurrency: int
    """How many requests it really works on in parallel. An instance may also have ``adaptive: bool``: true when
    this is only a guess (nobody said, and the server cannot be asked), so that the pool may find out.
    """
    pid: int | None
    """The child process, or ``None`` when the server is not ours."""

    async def send(self, call: Call) -> Reply:
        """Send one operation; returns as soon as the status line and headers are there.

        Raises ``ProviderUnreachable``, ``ProviderTimeout``. An HTTP error status is a ``Reply``, not an error.
        """
        ...

    async def health(self) -> None:
        """Return when healthy, raise ``ProviderError`` otherwise. Generates nothing."""
        ...

    async def warm_up(self) -> None:
        """One real forward pass."""
        ...

    async def unload(self) -> None:
        """Stop it and give its memory back; idempotent; returns when the process is gone."""
        ...

    def usage(self) -> ProcessUsage | None:
        """Counters of its processes; ``None`` when they cannot be read (not our process, or gone)."""
        ...

    def alive(self) -> bool:
        """False once its process has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Characteristics:
    """What a provider does for any version it runs."""

    owns_process: bool
    streaming: bool
    continuous_batching: bool
    local: bool


class Provider(Protocol):
    """Runs versions of one kind. Built by ``providers/catalogue``; plugins use the entry point group
    ``podium.providers`` whose value is a callable ``(ProviderContext) -> Provider``.
    """

    name: str
    characteristics: Characteristics

    async def inspect(self, source: Source) -> Facts:
        """Read the facts of an artifact or server. Raises ``InvalidRequest`` when it is not usable,
        ``ProviderError`` when the server does not answer.
        """
        ...

    def context_length(self, version: ModelVersion) -> int | None:
        """Tokens one request may use on an instance of this version, prompt and answer together."""
        ...

    def footprint(self, version: ModelVersion) -> int | None:
        """Estimated memory in bytes on this machine when loaded; 0 for a remote one, ``None`` when unknown."""
        ...

    async def load(self, version: ModelVersion, instance_id: str) -> Instance:
        """Start an instance and return it once it answers its health check. Raises ``LoadFailed``."""
        ...


RAM = "ram"
"""The device of everything that runs on the processors; GPUs are ``cuda:0``, ``cuda:1``, … as NVML numbers them."""


@runtime_checkable
class OnDevices(Protocol):
    """A provider that can be told where to run a version. Optional; without it everything is on ``RAM``."""

    def devices(self, version: ModelVersion) -> tuple[str, ...]:
        """Ids of the devices of this machine an instance may run on, best first; never empty."""
        ...

    async def load(self, version: ModelVersion, instance_id: str, *, device: str = RAM) -> Instance:
        """As ``Provider.load``; the pool passes ``device`` only when it is not ``RAM``."""
        ...


@runtime_checkable
class AtEndpoint(Protocol):
    """A provider whose versions run on servers that are not ours. Optional."""

    def endpoint(self, version: ModelVersion) -> str | None:
        """What several versions share and fail together with, as ``http://HOST:PORT``; ``None`` for own processes."""
        ...


# ---------------------------------------------------------------- host


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One GPU or NPU that was really found. ``evidence`` says how."""

    kind: str
    name: str
    memory_bytes: int | None
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What this machine is."""

    cpu_model: str | None
    cores_physical: int | None
    cores_logical: int
    memory_bytes: int
    memory_available_bytes: int
    accelerators: tuple[Accelerator, ...]
    unavailable: tuple[tuple[str, str], ...]
    """(what was looked for, why it is not usable)."""


class HostProbe(Protocol):
    """Reads the machine."""

    def facts(self) -> HostFacts: ...

    def devices(self) -> tuple[tuple[str, int], ...]:
        """Where models can be kept: (id, total bytes), ``RAM`` first. A container's limit counts as its total."""
        ...

    def free_bytes(self, device: str) -> int | None:
        """What can still be allocated there without swapping; ``None`` when nobody can say. Takes under 1 ms for RAM.

        Pages of mapped files count as free in RAM although running models need theirs: see ``ProcessUsage``.
        """
        ...


# ---------------------------------------------------------------- store


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Everything a start reads back from the store."""

    versions: tuple[ModelVersion, ...]
    profiles: Mapping[str, Profile]
    aliases: Mapping[str, str]
    tasks: tuple[TaskSpec, ...]
    bindings: tuple[Binding, ...]
    evidence: Mapping[tuple[str, str], Evidence]
    """By (task, ref)."""
    unfinished_swaps: tuple[Swap, ...]
    directives: Mapping[str, Directive] = field(default_factory=dict)
    """Standing orders about versions, by ref."""
    learned: Mapping[str, bytes] = field(default_factory=dict)
    """What learners kept, by name."""
    knowledge: Mapping[str, TaskKnowledge] = field(default_factory=dict)
    """By task."""
    keep_until: Mapping[str, float] = field(default_factory=dict)
    """Until when (Unix seconds) each deprecated version is kept warm, by ref."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One group commit of the write-behind recorder. ``evidence`` and ``knowledge`` hold whole rows, never deltas."""

    decisions: Sequence[tuple[Decision, Outcome]] = ()
    feedback: Sequence[Feedback] = ()
    events: Sequence[Event] = ()
    evidence: Mapping[tuple[str, str], Evidence] | None = None
    knowledge: Mapping[str, TaskKnowledge] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A window into a listing."""

    limit: int = 100
    offset: int = 0


class Store(Protocol):
    """Durable state. Every coroutine returns after its transaction is committed, or raises ``StoreError``
    (disk full, read-only) or ``Conflict`` (the database refused: immutable version, illegal transition).

    All writes go through one writer thread; ``write_batch`` calls that queue up share a commit.
    """

    async def load(self) -> Recorded: ...

    async def add_version(self, version: ModelVersion, by: str) -> None: ...

    async def set_status(self, transition: Transition, *, keep_until: float | None = None) -> None:
        """Record a transition and change the status; ``keep_until`` is kept while the version is deprecated."""
        ...

    async def set_profile(self, ref: str, profile: Profile) -> None: ...

    async def save_learned(self, name: str, content: bytes, at: float) -> None:
        """Replace the whole state of one learner."""
        ...

    async def set_directive(self, ref: str, directive: Directive | None) -> None:
        """Standing orders for a version; ``None`` removes them."""
        ...

    async def set_alias(self, alias: str, target: str | None) -> None:
        """``None`` removes the alias."""
        ...

    async def put_task(self, task: TaskSpec) -> None: ...

    async def save_swap(self, swap: Swap, binding: Binding | None, event: Event) -> None:
        """Insert or update a swap; with ``binding`` the task moves in the same transaction."""
        ...

    async def write_batch(self, batch: Batch) -> None: ...

    async def transitions(self, ref: str) -> tuple[Transition, ...]: ...

    async def swaps(self, task: str | None, page: Page) -> tuple[Swap, ...]:
        """Newest first."""
        ...

    async def events(self, after_id: int, page: Page) -> tuple[Event, ...]:
        """Oldest first, ids greater than ``after_id``."""
        ...

    async def find_decisions(self, request_id: str) -> tuple[tuple[Decision, Outcome], ...]:
        """All attempts of one request, oldest first; empty when unknown."""
        ...

    async def recent_decisions(self, page: Page) -> tuple[tuple[Decision, Outcome], ...]:
        """Newest first."""
        ...

    async def find_feedback(self, request_id: str) -> tuple[Feedback, ...]: ...

    async def counts(self) -> Mapping[str, int]:
        """Rows per table, for ``doctor``."""
        ...

    async def prune(self, max_decisions: int, older_than: float) -> int:
        """Delete decisions (with outcomes) beyond the cap or older than the Unix time; returns how many."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- benchmarks


class BenchmarkStore(Protocol):
    """Benchmark runs and graded answers. Kept apart from outcomes and evidence of live traffic."""

    async def save_benchmark_run(self, run: Run) -> None:
        """Insert or update by id."""
        ...

    async def benchmark_runs(self, page: Page) -> tuple[Run, ...]:
        """Newest first."""
        ...

    async def find_benchmark_run(self, run_id: str) -> Run | None: ...

    async def save_benchmark_results(self, results: Sequence[ItemResult]) -> None:
        """Insert; the same (digest, item, ref) is replaced."""
        ...

    async def forget_benchmark_results(self, digest: str, refs: Sequence[str]) -> int: ...

    async def benchmark_results(self, digest: str, refs: Sequence[str]) -> tuple[ItemResult, ...]: ...

    async def current_benchmark_results(self, task: str | None) -> tuple[ItemResult, ...]:
        """Those of the digest that the newest run of each suite used."""
        ...

    async def benchmark_scores(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        """(answers graded, mean score) by (task, ref), of current results."""
        ...


# ---------------------------------------------------------------- events to the outside


class EventLog(Protocol):
    """The record of events and of what it adds up to."""

    async def events_like(
        self, after_id: int, kinds: Sequence[str], page: Page, *, newest: bool = False
    ) -> tuple[Event, ...]:
        """As ``Store.events``, of kinds that fit any of the patterns (see core/event_kinds); none: all. With ``newest``
        the page is counted from the newest event; it is given out oldest first all the same.
        """
        ...

    async def event_bounds(self) -> tuple[int, int]:
        """Ids of the oldest event kept and of the newest ever written; what is between them is all there."""
        ...

    async def prune_events(self, most: int) -> int:
        """Delete the oldest beyond the newest ``most``; returns how many."""
        ...

    async def task_history(self, task: str | None) -> tuple[TaskHistory, ...]:
        """Swaps and rollouts of one task or of all, counted."""
        ...


class DeliveryStore(Protocol):
    """The outbox of webhooks. What a webhook wants is queued in the transaction that records the event."""

    async def subscribe_webhooks(self, subscriptions: Mapping[str, tuple[str, ...]]) -> None:
        """From now on: patterns of kinds by webhook. Replaces what was said before."""
        ...

    async def backlog(self, webhook: str, now: float, horizon: float, limit: int) -> Backlog:
        """At most ``limit`` deliveries that may go out at ``now``, one per subject; see core/retrying."""
        ...

    async def delivered(self, done: Delivery) -> Delivery | None:
        """Forget it; returns the next of the same webhook and subject, due or not."""
        ...

    async def postpone_delivery(self, failed: Delivery) -> None:
        """Keep its attempts, its error and the time of the next attempt."""
        ...

    async def give_up_delivery(self, lost: Delivery, event: Event) -> None:
        """Forget it and record that."""
        ...

    async def trim_deliveries(self, webhook: str, keep: int, told: Callable[[int], Event]) -> Event | None:
        """Forget the oldest beyond ``keep`` and record ``told(how many)``; ``None`` when there were none."""
        ...

    async def waiting_deliveries(self) -> Mapping[str, tuple[int, float]]:
        """(how many, Unix time of the oldest) by webhook."""
        ...


class Poster(Protocol):
    """Sends the calls of webhooks."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, allow_link_local: bool
    ) -> Posted:
        """One call; returns when the status is known. Redirects are not followed. Raises ``ProviderError``, and
        ``Forbidden`` for an address nobody should be made to call.
        """
        ...


# ---------------------------------------------------------------- rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutChange:
    """A rollout after one transition, with all that is recorded in the same transaction."""

    rollout: Rollout
    step: RolloutStep
    events: Sequence[Event] = ()
    arms: bytes | None = None
    """The evidence; ``None`` leaves what is kept."""
    binding: Binding | None = None
    """The task moves, and a bar of that version on it goes."""
    swap: Swap | None = None
    bar: Bar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRollout:
    """A rollout as kept, with its evidence."""

    rollout: Rollout
    arms: bytes | None = None


class RolloutStore(Protocol):
    """Rollouts: one open per task, each driven by one owner at a time."""

    async def add_rollout(self, change: RolloutChange, owner: str, until: float) -> None:
        """``owner`` drives it until the Unix time ``until``. Raises ``Conflict`` when one is open on the task."""
        ...

    async def save_rollout(self, change: RolloutChange, owner: str) -> None:
        """Raises ``Conflict`` when the rollout has ended or ``owner`` does not drive it."""
        ...

    async def save_arms(self, rollout_id: str, owner: str, arms: bytes) -> bool:
        """False when the rollout has ended or ``owner`` does not drive it."""
        ...

    async def claim_rollouts(
        self, owner: str, now: float, until: float, *, only: str | None = None, alone: bool = False
    ) -> tuple[KeptRollout, ...]:
        """Take the open rollouts (``only``: this one) whose owner's time is over; the ones taken, oldest first.

        ``alone``: no other gateway can be running, whatever the rows say.
        """
        ...

    async def renew_rollouts(self, owner: str, until: float) -> frozenset[str]:
        """Ids of the open rollouts that ``owner`` still drives, now until ``until``."""
        ...

    async def find_rollout(self, rollout_id: str) -> KeptRollout | None: ...

    async def rollouts(self, task: str | None, page: Page) -> tuple[Rollout, ...]:
        """Newest first."""
        ...

    async def rollout_steps(self, rollout_id: str) -> tuple[RolloutStep, ...]:
        """Oldest first."""
        ...

    async def add_rollout_step(self, step: RolloutStep) -> None: ...

    async def unreleased_rollouts(self) -> tuple[Rollout, ...]:
        """Promoted ones without a step that says what becomes of the old version."""
        ...

    async def bars(self) -> tuple[Bar, ...]: ...


# ---------------------------------------------------------------- exports


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which attempts are exported; ``None`` allows all."""

    since: float | None = None
    """Unix time of the decision, this moment included."""
    until: float | None = None
    """This moment excluded."""
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Where the attempts of a window are in the record; both places are 0 when there are none."""

    first: int
    last: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAttempt:
    """One attempt at a request with everything that was said of it later."""

    decision: Decision
    outcome: Outcome
    feedback: tuple[Feedback, ...] = ()
    judgments: tuple[Judgment, ...] = ()


class ExportStore(Protocol):
    """The record of attempts, piece by piece, oldest first."""

    async def export_extent(self, window: Window) -> Extent: ...

    async def export_piece(self, window: Window, after: int, upto: int) -> tuple[RecordedAttempt, ...]:
        """The attempts of the window at the places in (after, upto]; there can be none."""
        ...


# ---------------------------------------------------------------- schedules


class ScheduleStore(Protocol):
    """Schedules with their history, and swaps that move as one."""

    async def save_schedule(self, schedule: Schedule, events: Sequence[Event] = ()) -> None:
        """Insert or replace by id, with its events in the same transaction."""
        ...

    async def unfinished_schedules(self) -> tuple[Schedule, ...]:
        """Those that have not ended, oldest first."""
        ...

    async def schedules(self, page: Page) -> tuple[Schedule, ...]:
        """Newest first."""
        ...

    async def find_schedule(self, schedule_id: str) -> Schedule | None: ...

    async def requests_by_time(
        self, tasks: Sequence[str], since: float, until: float, piece_s: int
    ) -> Mapping[int, int]:
        """Requests of the tasks in [since, until), by Unix time over ``piece_s``, rounded down."""
        ...

    async def move_together(self, swaps: Sequence[Swap], bindings: Sequence[Binding], events: Sequence[Event]) -> None:
        """Record swaps and move all their tasks in one transaction."""
        ...


# ---------------------------------------------------------------- judgments


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentFilter:
    """Which judgments are wanted; ``None`` allows all."""

    task: str | None = None
    ref: str | None = None
    criterion: str | None = None
    judge: str | None = None
    request_id: str | None = None
    invalid: bool | None = None


class JudgmentStore(Protocol):
    """Answers that wait to be judged, with their texts, and judgments, without them."""

    async def enqueue_judging(self, items: Sequence[Queued]) -> None:
        """Keep them until they are judged; one that waits already is replaced and keeps its place in line."""
        ...

    async def waiting_judging(self) -> tuple[Waiting, ...]:
        """All that wait, in the order they came."""
        ...

    async def take_judging(self, decision_ids: Sequence[str]) -> tuple[Queued, ...]:
        """Read some that wait; they stay until they are judged."""
        ...

    async def thin_judging(self, decision_ids: Sequence[str], share: float) -> None:
        """Forget those unjudged, and lower the share of all others to ``share``."""
        ...

    async def save_judgments(self, judgments: Sequence[Judgment]) -> None:
        """Store them and forget the texts they are about, in one transaction."""
        ...

    async def raise_judged_probability(self, decision_id: str, probability: float, sign: str) -> int:
        """A judged answer turned out to show a sign; returns how many judgments of it are corrected."""
        ...

    async def judgments(self, wanted: JudgmentFilter, page: Page) -> tuple[Judgment, ...]:
        """Newest first."""
        ...

    async def judgment_tallies(self, task: str | None, since: float) -> tuple[Tally, ...]:
        """Sums by task, version, criterion and judge, of judgments from the Unix time ``since`` on."""
        ...

    async def prune_judgments(self, most: int) -> int:
        """Delete the oldest beyond the newest ``most``; returns how many."""
        ...


# ---------------------------------------------------------------- executions


class ExecutionStore(Protocol):
    """Executions that are tracked, ordered by their last change."""

    async def save_executions(self, changed: Sequence[Execution]) -> None:
        """Insert or replace by id; each is then the newest change, in the order given."""
        ...

    async def find_execution(self, execution_id: str) -> Execution | None: ...

    async def executions(self, which: ExecutionFilter, page: Page) -> tuple[Execution, ...]:
        """Newest change first; with ``which.after`` oldest change first."""
        ...

    async def standings(self, agent: str | None) -> tuple[Standing, ...]:
        """How executions went, by agent, type and version."""
        ...

    async def prune_executions(self, most: int, older_than: float) -> int:
        """Delete those that are over and beyond the newest ``most``, or were over before the Unix time."""
        ...


class CalibrationStore(Protocol):
    """How far each judge can be trusted on each criterion."""

    async def save_calibration(self, calibration: Calibration) -> None:
        """Insert it, or replace that of the same judge and criterion."""
        ...

    async def calibrations(self) -> tuple[Calibration, ...]:
        """All, by judge and criterion."""
        ...

    async def remove_calibration(self, judge: str, criterion: str) -> bool:
        """Whether there was one."""
        ...


# ---------------------------------------------------------------- alerts


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What was recorded of a task around one time."""

    task: str
    at: float
    sums: tuple[float, ...]
    """Requests, failed ones, answers, slow ones, weight of scores, weighted loss of scores."""


class AlertStore(Protocol):
    """Alerts with their events, and the past that objectives look back on."""

    async def save_alert(self, alert: Alert, event: Event) -> None:
        """Insert or replace by id, with its event in the same transaction."""
        ...

    async def open_alerts(self) -> tuple[Alert, ...]:
        """Those that are not over, oldest first."""
        ...

    async def alerts(self, task: str | None, page: Page) -> tuple[Alert, ...]:
        """Newest first."""
        ...

    async def recorded_pieces(
        self,
        limits: Mapping[str, float | None],
        since: float,
        piece_s: float,
        *,
        excused: Sequence[str],
        weights: Mapping[str, float],
    ) -> tuple[Piece, ...]:
        """Sums by time since the Unix time ``since``, of the tasks in ``limits``, which holds their latency limits in
        milliseconds. Requests that ended with an error in ``excused`` count nowhere; ``weights`` are of scores by source.
        """
        ...


class Answers(Protocol):
    """Asks one version, directly and at low priority, whatever selection would have chosen."""

    async def prepare(self, version: ModelVersion) -> int:
        """Load it; returns how many requests it works on in parallel. Raises ``PodiumError``."""
        ...

    async def generate(
        self, version: ModelVersion, messages: Sequence[Mapping[str, str]], *, max_tokens: int, request_id: str
    ) -> Generated:
        """One answer, greedy and with a fixed seed. Raises ``ProviderError``, ``Overloaded``."""
        ...


class Sandbox(Protocol):
    """Runs code nobody vouches for. Blocking: call it in a thread."""

    def run_tests(self, code: str, tests: str) -> Grade:
        """1 when ``tests`` run to their end after ``code``, else 0 with the reason."""
        ...

    def search(self, pattern: str, text: str) -> bool | None:
        """Whether the pattern is found; ``None`` when that took too long."""
        ...

    def confinement(self) -> Mapping[str, str]:
        """What confines network, processes, files, disk and resources on this machine."""
        ...

    def close(self) -> None:
        """End every job."""
        ...


class Suites(Protocol):
    """Where suites come from."""

    def names(self) -> tuple[str, ...]:
        """Sorted."""
        ...

    def get(self, name: str) -> Suite:
        """Raises ``NotFound``; ``InvalidRequest`` when its files are wrong."""
        ...

    def inline(self, name: str, head: Mapping[str, object], items: Sequence[Mapping[str, object]]) -> Suite:
        """A suite whose content came with the request. Raises ``InvalidRequest``."""
        ...


class Judge(Protocol):
    """Grades what no rule can. Nothing implements it yet."""

    async def grade(self, prompt: str, answer: str, rubric: str) -> Grade:
        """``score`` is ``None`` when the judge could not decide."""
        ...


EventSink = Callable[[Event], None]
"""Receives events as they happen; must not block or raise."""

AsyncCallback = Callable[[], Awaitable[None]]

__all__ = [
    "RAM",
    "Accelerator",
    "AsyncCallback",
    "AtEndpoint",
    "Batch",
    "BenchmarkStore",
    "Call",
    "Characteristics",
    "Clock",
    "Deadlines",
    "DeliveryStore",
    "EventLog",
    "EventSink",
    "ExecutionStore",
    "ExportStore",
    "Extent",
    "HostFacts",
    "HostProbe",
    "Instance",
    "Judge",
    "JudgmentFilter",
    "JudgmentStore",
    "KeptRollout",
    "Lifecycle",
    "OnDevices",
    "Page",
    "Poster",
    "Provider",
    "Recorded",
    "RecordedAttempt",
    "Reply",
    "RolloutChange",
    "RolloutStore",
    "Sandbox",
    "ScheduleStore",
    "Store",
    "Suites",
    "Window",
]
