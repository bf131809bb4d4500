"""The programs whose texts are kept: tiny sizes, one of each kind of thing that gets compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

import irgrad as ig
from irgrad import nn
from irgrad.ir.graph import Graph, Value
from irgrad.ir.location import Location
from irgrad.ir.printer import print_graph
from irgrad.kernel.program import Program
from irgrad.kernel.text import print_kernel
from irgrad.passes.lower import lower

OPTIMISER = ig.optim.adam(2e-3)


def gelu_gate(x: Any, y: Any) -> Any:
    """Elementwise: one loop."""
    return nn.gelu(x) * nn.sigmoid(y + 1.5)


def softmax(x: Any) -> Any:
    """Two reductions and an elementwise end over the same rows."""
    return nn.softmax(x)


def layer_norm_loss(x: Any, scale: Any, shift: Any) -> Any:
    """A normalisation whose gradients sum over rows and over columns."""
    return nn.gelu(nn.layer_norm(x, scale, shift)).sum()


def cross_entropy(logits: Any, labels: Any) -> Any:
    """A loss with integer labels."""
    return nn.cross_entropy(logits, labels)


def predict(params: Any, x: Any) -> Any:
    """Logits of a network with one hidden layer."""
    hidden = nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def network_loss(params: Any, x: Any, labels: Any) -> Any:
    """The loss that `training_step` descends."""
    return nn.cross_entropy(predict(params, x), labels)


def training_step(params: Any, state: Any, x: Any, labels: Any) -> Any:
    """Loss, gradients and update in one unit, as in the sample of the digits."""
    value, gradients = ig.value_and_grad(network_loss)(params, x, labels)
    params, state = OPTIMISER.update(gradients, state, params)
    return value, params, state


def matmuls(x: Any, w: Any, bias: Any) -> Any:
    """A product with an epilogue, and one of two transposes."""
    shifted = x @ w + bias
    transposed = w.T @ x.T
    return shifted, transposed


def reductions(x: Any) -> Any:
    """Reductions over the last axes, the first, one in the middle, and both ends."""
    return x.var(axis=(0, 2)), x.argmax(axis=1), (x > 0.5).any(axis=(1, 2)), x.max(axis=0)


def movement(x: Any, y: Any) -> Any:
    """Pieces put together, padded and cut."""
    joined = np.concatenate([x[:, 1:], np.flip(y, axis=1)], axis=0)
    return np.pad(joined, ((1, 0), (0, 2)))[::2, :] * 2.0


def safe_root(x: Any) -> Any:
    """A branch that is NaN where the other is taken."""
    return np.where(x >= 0, x, np.sqrt(-x)).sum()


def checked(x: Any, y: Any) -> Any:
    """A check, which has to hold before anything else runs."""
    ig.check(x > 0, "x must be positive")
    return np.log(x) + y


def symbolic_loss(x: Any, w: Any, labels: Any) -> Any:
    """A loss whose sizes are names."""
    return nn.cross_entropy(np.tanh(x @ w), labels)


@dataclass(frozen=True, slots=True)
class Case:
    """A function with tiny specs for texts, large ones for counts, and what may be overwritten."""

    function: Callable[..., Any]
    specs: tuple[Any, ...]
    large: tuple[Any, ...]
    donate: tuple[int, ...] = ()


def _training_specs(batch: int, inputs: int, hidden: int, classes: int) -> tuple[Any, ...]:
    params = {
        "w1": f"f32[{inputs},{hidden}]", "b1": f"f32[{hidden}]",
        "w2": f"f32[{hidden},{classes}]", "b2": f"f32[{classes}]",
    }  # fmt: skip
    state = {"mean": params, "square": params, "step": "f64[]"}
    return params, state, f"f32[{batch},{inputs}]", f"i64[{batch}]"


PROGRAMS: Mapping[str, Case] = MappingProxyType(
    {
        "gelu_gate": Case(gelu_gate, ("f32[6]",) * 2, ("f32[512,512]",) * 2),
        "softmax": Case(softmax, ("f32[2,5]",), ("f32[512,1000]",)),
        "layer_norm": Case(
            ig.value_and_grad(layer_norm_loss, argnums=(0, 1, 2)),
            ("f32[3,4]", "f32[4]", "f32[4]"),
            ("f32[512,768]", "f32[768]", "f32[768]"),
        ),
        "cross_entropy": Case(
            ig.value_and_grad(cross_entropy), ("f32[3,4]", "i64[3]"), ("f32[128,1000]", "i64[128]")
        ),
        "training_step": Case(
            training_step, _training_specs(4, 6, 5, 3), _training_specs(128, 64, 128, 10), (0, 1)
        ),
        "matmuls": Case(
            matmuls,
            ("f32[3,4]", "f32[4,2]", "f32[2]"),
            ("f32[256,512]", "f32[512,128]", "f32[128]"),
        ),
        "reductions": Case(reductions, ("f64[2,3,4]",), ("f64[16,32,64]",)),
        "movement": Case(movement, ("f32[2,4]", "f32[1,3]"), ("f32[64,129]", "f32[32,128]")),
        "safe_root": Case(ig.grad(safe_root), ("f64[5]",), ("f64[4096]",)),
        "checked": Case(checked, ("f32[4]",) * 2, ("f32[4096]",) * 2),
    }
)
SYMBOLIC = (ig.grad(symbolic_loss, argnums=1), "f32[n,4]", "f32[4,k]", "i64[n]")


@dataclass(frozen=True, slots=True)
class Stages:
    """A program on its way to kernels."""

    traced: Graph
    fused: Graph
    program: Program
    edits: str


@cache
def stages(name: str, large: bool = False) -> Stages:
    """The stages of one of the programs, without machine code."""
    case = PROGRAMS[name]
    specs = case.large if large else case.specs
    found = ig.compile(case.function, *specs, donate=case.donate, target="reference")
    fused = found.stage("fuse")
    return Stages(found.graph, fused, lower(fused), found.explain())


@cache
def compiled(name: str) -> ig.Compiled:
    """One of the programs as machine code, at its tiny sizes."""
    case = PROGRAMS[name]
    return ig.compile(case.function, *case.specs, donate=case.donate)


def random_leaves(graph: Graph) -> list[np.ndarray]:
    """An array for each input: floats in (0.1, 1), integers that are labels of three classes."""
    rng = np.random.default_rng(0)
    leaves = []
    for type_ in (graph.type(Value(key)) for key in graph.inputs):
        shape = tuple(map(int, type_.shape))  # type: ignore[arg-type]
        floats = type_.dtype.kind == "f"
        values = rng.uniform(0.1, 1, shape) if floats else rng.integers(0, 3, shape)
        leaves.append(np.array(values, type_.dtype.numpy))
    return leaves


# -- texts -----------------------------------------------------------------------------------------


def kernels_text(program: Program) -> str:
    """The plan, then each kernel under the source lines that it computes."""
    return "\n".join([_plan_text(program), *_kernel_texts(program)])


def _plan_text(program: Program) -> str:
    lines = [f"arena {program.arena_bytes} bytes, {program.guard_calls} guard calls"]
    for call in program.calls:
        slots = ", ".join(f"{slot.kind} {slot.number}" for slot in call.slots)
        lines.append(f"call {program.kernels[call.kernel].name}({slots})")
    results = ", ".join(f"{r.kind} {r.number}" for r in program.results)
    return "\n".join([*lines, f"return {results}", ""])


def _kernel_texts(program: Program) -> Iterator[str]:
    for kernel in program.kernels:
        origin = dict.fromkeys(map(_source_text, kernel.origin))
        yield "".join(f"# {line}\n" for line in origin) + print_kernel(kernel)


def _source_text(location: Location) -> str:
    """The line's text without its number, which every edit of this file would change."""
    return f"{location.role} `{location.source()}`".strip()


def dump() -> str:
    """Everything that two processes have to agree on; long texts of machine code as hashes."""
    from irgrad.backends.numba_cpu.llvm.entry import program_module

    parts: list[str] = []
    for name in PROGRAMS:
        found = stages(name)
        code = str(program_module(found.program, name, vector_bytes=32))
        parts += [
            print_graph(found.traced, locations=True, names=True),
            print_graph(found.fused, locations=True),
            kernels_text(found.program),
            found.edits,
            hashlib.sha256(code.encode()).hexdigest(),
        ]
    return "\n".join(parts)
