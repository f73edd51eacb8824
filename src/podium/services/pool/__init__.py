"""The warm pool: which versions are in memory, and who gets a place on them when.

``pool`` is the face; ``placing`` asks ``core/planning`` what to load and evict, ``loading`` carries it out,
``health`` watches, ``scaling`` adjusts. ``slot`` (a version), ``copy`` (an instance) and ``state`` are written by
these alone.
"""

from podium.services.pool.lease import Lease
from podium.services.pool.limits import MB, PoolLimits
from podium.services.pool.pool import Pool

__all__ = ["MB", "Lease", "Pool", "PoolLimits"]
