"""One error tree for the whole product.

Each class owns its OpenAI-style ``type`` and ``code``, the HTTP status, whose fault it is and whether the
same call may succeed when repeated. Renderers (HTTP, CLI) only print what is here. A message says what is
wrong and what to do next. Nothing here imports anything else of Podium.

    PodiumError
    ├── CallerError            the request is wrong (4xx)
    │   ├── InvalidRequest     400   malformed body, bad parameter
    │   ├── ContextExceeded    400   prompt longer than the context window
    │   ├── BodyTooLarge       413
    │   ├── Unauthenticated    401
    │   ├── Forbidden          403
    │   ├── NotFound           404   model, task, request, route
    │   └── Conflict           409   immutable version, illegal transition, misuse of a swap
    ├── PolicyError            a rule of this installation says no
    │   ├── NoCandidate        422   every model was dropped; lists each with its reason
    │   ├── RateLimited        429
    │   ├── OverBudget         429   a budget has no room for it; names the budget and the end of its window
    │   └── Overloaded         503   queue full, memory held by others; carries Retry-After
    ├── ProviderError          the model's server failed (5xx)
    │   ├── ProviderUnreachable 502
    │   ├── ProviderTimeout    504
    │   ├── ProviderRejected   4xx   the server refused this request; passed on as it came
    │   └── LoadFailed         503   the model could not be started
    └── InternalError          our fault (500)
        ├── StoreError         503   disk full, database read-only or corrupt
        └── ConfigError        500   configuration cannot be used
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Who has to act."""

    CALLER = "caller"
    POLICY = "policy"
    PROVIDER = "provider"
    INTERNAL = "internal"


class PodiumError(Exception):
    """Base of every error Podium raises on purpose.

    ``param`` names the offending request field, ``retry_after_s`` is rendered as ``Retry-After`` (whole
    seconds, rounded up), ``details`` are extra JSON-able facts (for example one reason per dropped model).
    """

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"
    fault: ClassVar[Fault] = Fault.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.details = details or {}
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class CallerError(PodiumError):
    """The caller can repair this by changing the request."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    fault = Fault.CALLER


class InvalidRequest(CallerError):
    """Malformed body or parameter."""


class ContextExceeded(CallerError):
    """The prompt does not fit into the context window."""

    code = "context_length_exceeded"


class BodyTooLarge(CallerError):
    """The request body is over the configured limit."""

    status = 413
    code = "request_too_large"


class Unauthenticated(CallerError):
    """No key, or a key that is not known."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(CallerError):
    """The caller is known but may not do this, or comes from a refused host or origin."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(CallerError):
    """No such model, task, request or route."""

    status = 404
    code = "not_found"


class Conflict(CallerError):
    """The order contradicts what is recorded: immutable version, illegal transition, misuse."""

    status = 409
    code = "conflict"


class PolicyError(PodiumError):
    """A rule of this installation refuses."""

    status = 422
    type = "policy_error"
    code = "policy"
    fault = Fault.POLICY


class NoCandidate(PolicyError):
    """No model passes the hard filters. ``details["dropped"]`` maps each model to its reason."""

    code = "no_candidate"


class RateLimited(PolicyError):
    """Too many requests for this key."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retryable = True


class OverBudget(PolicyError):
    """A budget has no room for this request. ``retry_after_s`` is the end of its window; ``details`` hold its figures."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"
    elsewhere: bool = False
    """It is the budget of a provider: a version of another one may serve the request."""


class Overloaded(PolicyError):
    """The queue is full or the memory is held by others. ``retry_after_s`` is an honest estimate."""

    status = 503
    type = "overloaded_error"
    code = "overloaded"
    retryable = True


class ProviderError(PodiumError):
    """The model's server failed."""

    status = 502
    type = "provider_error"
    code = "provider_error"
    fault = Fault.PROVIDER
    retryable = True
    instance_lost: bool = False
    """The process behind it ended under the request, so that another copy of the same version may serve it."""


class ProviderUnreachable(ProviderError):
    """Connection refused, reset, or closed before an answer."""

    code = "provider_unreachable"


class ProviderTimeout(ProviderError):
    """Connect, first-token or total time-out."""

    status = 504
    code = "provider_timeout"


class ProviderRejected(ProviderError):
    """The model's server answered 4xx: the request itself is at fault, no fallback will help."""

    type = "invalid_request_error"
    code = "provider_rejected"
    fault = Fault.CALLER
    retryable = False


class LoadFailed(ProviderError):
    """A model could not be started; the message holds the end of its log."""

    status = 503
    code = "load_failed"


class InternalError(PodiumError):
    """Our fault."""


class StoreError(InternalError):
    """The database cannot be written or read: disk full, read-only, corrupt."""

    status = 503
    code = "store_unavailable"


class ConfigError(InternalError):
    """The configuration cannot be used. The message names file, key and the nearest valid key."""

    code = "invalid_config"
