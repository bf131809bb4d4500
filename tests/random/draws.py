"""All draws of `irgrad.random` as functions of a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from irgrad import random

LOGITS = np.linspace(-2, 2, 12).reshape(3, 4)
F32, F64 = np.float32, np.float64
DRAWS: dict[str, Callable[[Any], Any]] = {
    "bits": lambda k: random.bits(k, (33,)),
    "bits of u64": lambda k: random.bits(k, (5,), np.uint64),
    "bits of u8": lambda k: random.bits(k, (40,), np.uint8),
    "uniform": lambda k: random.uniform(k, (7, 3)),
    "uniform of f64": lambda k: random.uniform(k, (17,), F64),
    "uniform between bounds": lambda k: random.uniform(k, (40,), F32, -3, 2.7),
    "uniform between arrays": lambda k: random.uniform(k, (3,), F64, LOGITS[:, 0], LOGITS[:, 1]),
    "bernoulli": lambda k: random.bernoulli(k, 0.3, (40,)),
    "bernoulli of f64": lambda k: random.bernoulli(k, np.full(40, 0.6)),
    "randint": lambda k: random.randint(k, (40,), -5, 91),
    "randint of i64": lambda k: random.randint(k, (9,), -(2**40), 2**32 - 2**40, np.int64),
    "randint of u8": lambda k: random.randint(k, (9,), 3, 256, np.uint8),
    "permutation": lambda k: random.permutation(k, 45),
    "normal": lambda k: random.normal(k, (40,)),
    "normal of f64": lambda k: random.normal(k, (19,), F64),
    "normal, moved": lambda k: random.normal(k, (33,), F32, 0.1, 3.7),
    "exponential": lambda k: random.exponential(k, (35,), F32, 0.3),
    "gumbel": lambda k: random.gumbel(k, (35,)),
    "gumbel of f64": lambda k: random.gumbel(k, (9,), F64, 1.0, 0.7),
    "laplace": lambda k: random.laplace(k, (9,), F64),
    "truncated_normal": lambda k: random.truncated_normal(k, -1, 2.5, (33,)),
    "truncated_normal in a tail": lambda k: random.truncated_normal(k, 5, np.inf, (33,), F64),
    "categorical": lambda k: random.categorical(k, LOGITS.astype(F32), shape=(5,)),
    "categorical of f64": lambda k: random.categorical(k, LOGITS, axis=0, shape=(5,)),
    "choice": lambda k: random.choice(k, 7, (11,)),
    "choice, each once": lambda k: random.choice(k, 17, (5,), replace=False),
    "choice by p": lambda k: random.choice(k, 3, (21,), p=np.array([0.1, 0.2, 0.7])),
    "gamma": lambda k: random.gamma(k, np.array([0.03, 0.5, 1.0, 2.5, 40.0], F32), scale=1.7),
    "split": lambda k: random.split(k, 3),
    "fold_in": lambda k: random.fold_in(k, -9),
}
