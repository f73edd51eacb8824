"""The one ``Masker`` of this process: logs, errors and tracebacks are the process's, so what hides secrets in them is, too.

Whoever reads a secret from where it is kept tells it here; whoever lets text out asks it.
"""

from __future__ import annotations

from podium.core.redaction import Masker

MASKER = Masker()
