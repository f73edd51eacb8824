"""Logistic regression with a ridge, by Newton's method on numpy. Pure; knows nothing of judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_STEPS = 50
_SETTLED = 1e-7


@dataclass(frozen=True, slots=True)
class Line:
    """Log-odds = ``offset`` + rows · ``slopes``."""

    offset: float
    slopes: Floats

    def logits(self, rows: Floats) -> Floats:
        """Log-odds of each row of shape (n, d)."""
        return np.asarray(self.offset + rows @ self.slopes, dtype=np.float64)


def regress(
    rows: Floats,
    labels: Floats,
    ridge: float | Floats,
    *,
    weights: Floats | None = None,
    centre: Floats | None = None,
    offset: bool = True,
) -> Line:
    """Minimise the weighted negative log likelihood + ridge/2 · |slopes - centre|².

    ``rows`` (n, d), ``labels`` (n,) in [0, 1]; ``ridge`` one number or one for each slope, above 0; ``centre`` (d,), zero
    unless given. The offset is not penalised beyond a trace that keeps it finite. Damped Newton: a step that does not
    lower the loss is halved.
    """
    n, d = rows.shape
    weights = np.ones(n) if weights is None else weights
    design = np.column_stack([np.ones(n), rows])
    penalty = np.concatenate([[1e-3 if offset else 1e9], np.broadcast_to(np.asarray(ridge, dtype=float), d)])
    middle = np.concatenate([[0.0], np.zeros(d) if centre is None else centre])
    beta = middle.copy()
    loss = _loss(design, labels, weights, beta, penalty, middle)
    for _ in range(_STEPS):
        chance = sigmoid(design @ beta)
        slope = design.T @ (weights * (chance - labels)) + penalty * (beta - middle)
        curve = (design * (weights * np.maximum(chance * (1.0 - chance), 1e-9))[:, None]).T @ design
        curve[np.diag_indices(d + 1)] += penalty
        step = np.linalg.solve(curve, slope)
        size = 1.0
        while size > 1e-6:
            tried = beta - size * step
            found = _loss(design, labels, weights, tried, penalty, middle)
            if found <= loss:
                break
            size /= 2
        else:
            break
        beta, gained, loss = tried, loss - found, found
        if gained < _SETTLED * (1.0 + abs(loss)):
            break
    return Line(float(beta[0]), np.asarray(beta[1:], dtype=np.float64))


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x), without overflow."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)


def _loss(design: Floats, labels: Floats, weights: Floats, beta: Floats, penalty: Floats, middle: Floats) -> float:
    logits = design @ beta
    fit = float(weights @ (np.logaddexp(0.0, logits) - labels * logits))
    return fit + float(penalty @ (beta - middle) ** 2) / 2
