"""`irgrad bench hessians`: Hessians of functions of 200 parameters beside JAX."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from ..report import UsageError
from .peers import OURS, PeerReport
from .rounds import compare_rounds
from .works import Arrays, Work

JAX = "jax"
PARAMETERS = 200
SAMPLES = {"logistic": 256, "network": 64}
DECAY = 0.01
INPUTS, HIDDEN, OUTPUTS = 8, 10, 10  # of the network: 80 + 10 + 100 + 10 parameters
ENDS = np.cumsum([INPUTS * HIDDEN, HIDDEN, HIDDEN * OUTPUTS, OUTPUTS]).tolist()
Function = Callable[..., Any]


def hessian_works(names: list[str] | None) -> list[Work]:
    """The works of such names, all where there are none; UsageError for an unknown name."""
    works = {
        "rosenbrock": ("sum(100*(x[1:]-x[:-1]**2)**2 + (1-x[:-1])**2)", _rosenbrock_hessian),
        "logistic": (f"logistic regression of {SAMPLES['logistic']} samples", _logistic_hessian),
        "network": (f"{INPUTS}-{HIDDEN}-{OUTPUTS} tanh network, squared error of "
                    f"{SAMPLES['network']} samples", _network_hessian),
    }  # fmt: skip
    for name in names or ():
        if name not in works:
            raise UsageError(f"--function: expected one of {', '.join(works)}, got {name!r}")
    return [
        Work(f"hessian {name}", works[name][0], (1, PARAMETERS), _inputs(name), works[name][1])
        for name in dict.fromkeys(names or works)
    ]


def find_hessian(work: str, np: Any, softplus: Function, hessian: Function) -> Function | None:
    """The Hessian of a work in a library, by its namespace and transform; None for other works."""
    kind, _, name = work.partition(" ")
    if kind != "hessian":
        return None

    def rosenbrock(x: Any) -> Any:
        return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def logistic(w: Any, x: Any, y: Any) -> Any:
        z = x @ w
        return np.mean(softplus(z) - y * z) + DECAY * np.sum(w * w)

    def network(w: Any, x: Any, y: Any) -> Any:
        first, bias, last, shift = (w[a:b] for a, b in zip([0, *ENDS], ENDS))
        hidden = np.tanh(x @ first.reshape(INPUTS, HIDDEN) + bias)
        return np.mean((hidden @ last.reshape(HIDDEN, OUTPUTS) + shift - y) ** 2)

    functions = {"rosenbrock": rosenbrock, "logistic": logistic, "network": network}
    found: Function = hessian(functions[name])
    return found


def _inputs(name: str) -> Callable[[tuple[int, int]], Arrays]:
    def inputs(shape: tuple[int, int]) -> Arrays:
        rng = np.random.default_rng(0)
        w = rng.standard_normal(shape[1]) * (0.3 if name == "network" else 1.0)
        if name == "rosenbrock":
            arrays = [w]
        elif name == "logistic":
            x = rng.standard_normal((SAMPLES[name], shape[1]))
            arrays = [w, x, (rng.random(SAMPLES[name]) < 0.5).astype(np.float64)]
        else:
            x = rng.standard_normal((SAMPLES[name], INPUTS))
            arrays = [w, x, rng.standard_normal((SAMPLES[name], OUTPUTS))]
        return [array.astype(np.float32) for array in arrays]

    return inputs


# -- what they are, written out --------------------------------------------------------------------


def _rosenbrock_hessian(arrays: Arrays) -> Arrays:
    (x,) = arrays
    main = np.zeros(x.size)
    main[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    main[1:] += 200
    beside = -400 * x[:-1]
    return [np.diag(main) + np.diag(beside, 1) + np.diag(beside, -1)]


def _logistic_hessian(arrays: Arrays) -> Arrays:
    w, x, _ = arrays
    chance = 1 / (1 + np.exp(-(x @ w)))
    weight = chance * (1 - chance) / len(x)
    return [(x.T * weight) @ x + 2 * DECAY * np.eye(w.size)]


def _network_hessian(arrays: Arrays) -> Arrays:
    """2/n * sum of (slope slope' + residual * curvature) over samples and outputs."""
    w, x, y = arrays
    first, bias, last, shift = np.split(w, ENDS[:-1])
    last = last.reshape(HIDDEN, OUTPUTS)
    samples = len(x)
    hidden = np.tanh(x @ first.reshape(INPUTS, HIDDEN) + bias)
    slope = 1 - hidden**2
    residual = hidden @ last + shift - y
    wide = np.concatenate([x, np.ones((samples, 1))], 1)  # the bias is a weight of 1
    unit, same = np.eye(OUTPUTS), np.eye(HIDDEN)
    inner = np.einsum("si,sj,jk->skij", wide, slope, last).reshape(samples, OUTPUTS, -1)
    outer = np.einsum("sj,kl->skjl", hidden, unit).reshape(samples, OUTPUTS, -1)
    ends = np.broadcast_to(unit, (samples, OUTPUTS, OUTPUTS))
    slopes = np.concatenate([inner, outer, ends], 2)
    total = np.einsum("ska,skb->ab", slopes, slopes)
    bent = np.einsum("sk,jk,sj,sa,sb,ji->ajbi", residual, last, -2 * hidden * slope, wide, wide,
                     same)  # fmt: skip
    size = inner.shape[2]
    total[:size, :size] += bent.reshape(size, size)
    mixed = np.einsum("sk,sj,sa,ji->ajik", residual, slope, wide, same).reshape(size, -1)
    total[:size, size : size + mixed.shape[1]] += mixed
    total[size : size + mixed.shape[1], :size] += mixed.T
    return [total * 2 / residual.size]


# -- the report ------------------------------------------------------------------------------------

COLUMNS = ("function", "irgrad us", "jax us", "irgrad / jax", "by minima", "irgrad won",
           "first call s", "jax's", "error")  # fmt: skip


def hessian_rows(report: PeerReport) -> list[tuple[str, ...]]:
    """The rows of the table."""
    rows: list[tuple[str, ...]] = []
    for work, timings in report.timings.items():
        ours, theirs = timings[OURS], timings.get(JAX)
        row = (work.removeprefix("hessian "), f"{statistics.median(ours.seconds) * 1e6:.1f}")
        first = f"{ours.first:.2f}"
        if theirs is None:
            rows.append((*row, "", "", "", "", first, "", f"{ours.error:.1e}"))
            continue
        found = compare_rounds(ours.seconds, theirs.seconds)
        rows.append(
            (*row, f"{statistics.median(theirs.seconds) * 1e6:.1f}", f"{found.ratio:.2f}",
             f"{found.best:.2f}", f"{found.won} of {len(ours.seconds)}", first,
             f"{theirs.first:.2f}", f"{ours.error:.1e}")
        )  # fmt: skip
    return rows
