"""Random numbers from explicit keys: the same bits on every target and for any number of threads.

    key = random.key(0)
    for step in range(1000):
        noise = random.normal(random.fold_in(key, step), (64, 10))

A key is an array u32[2]. Functions never change it, so a key that is used again gives the same
numbers again: split it, or fold a number into it, for each draw. Element i of a draw depends on the
key and i alone. Called on arrays the functions compute at once, with the bits of compiled code;
float32 is the default.
"""

from .continuous import exponential, gumbel, laplace, normal, truncated_normal
from .discrete import categorical, choice, permutation
from .gammas import beta, dirichlet, gamma
from .keys import fold_in, key, split
from .uniforms import bernoulli, bits, randint, uniform

__all__ = [
    "bernoulli",
    "beta",
    "bits",
    "categorical",
    "choice",
    "dirichlet",
    "exponential",
    "fold_in",
    "gamma",
    "gumbel",
    "key",
    "laplace",
    "normal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]
