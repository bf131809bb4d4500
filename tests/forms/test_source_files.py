"""A training step in both forms. The source of each kernel is a file that runs by itself; the files
of a gradient, called in the order of its program in another process, are the gradient."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both_forms import NUMBERS, case, run_llvm
from named_cases import named_case

import irgrad as ig
import irgrad.numpy as inp
from irgrad import nn
from irgrad.backends.numba_cpu.source.printer import kernel_source
from irgrad.errors import CheckError
from irgrad.ir.dims import as_number
from irgrad.ir.spec import parse_type
from irgrad.ir.types import DTYPES
from irgrad.kernel.instantiate import instantiate
from irgrad.kernel.program import Program
from irgrad.testing.programs import collect_results, run_program
from irgrad.tracing.trace import trace

OPTIMISER = ig.optim.adam(2e-3)


def loss(params: Any, x: Any, labels: Any) -> Any:
    hidden = nn.relu(x @ params["w1"] + params["b1"])
    return nn.cross_entropy(hidden @ params["w2"] + params["b2"], labels)


def gradients(params: Any, x: Any, labels: Any) -> Any:
    """The loss and its gradients, with a check."""
    ig.check((labels >= 0) & (labels < 10), "labels are digits")
    return ig.value_and_grad(loss)(params, x, labels)


def step(params: Any, state: Any, x: Any, labels: Any) -> Any:
    """The training step of the digits sample."""
    value, slopes = gradients(params, x, labels)
    params, state = OPTIMISER.update(slopes, state, params)
    return value, params, state


def arguments(batch: int, pixels: int, hidden: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / 4).astype(np.float32)

    params = {
        "w1": normal(pixels, hidden), "b1": normal(hidden), "w2": normal(hidden, 10),
        "b2": normal(10),
    }  # fmt: skip
    return params, OPTIMISER.init(params), normal(batch, pixels), rng.integers(0, 10, batch)


def leaves(tree: Any) -> list[np.ndarray]:
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [x for part in tree for x in leaves(part)]
    return [np.asarray(tree)]


def test_training_steps_are_equal_in_both_forms() -> None:
    found = []
    for emit in ("llvm", "numba"):
        params, state, x, labels = arguments(128, 64, 128)
        compiled = ig.compile(step, params, state, x, labels, donate=(0, 1), emit=emit)
        values = []
        for _ in range(5):
            value, params, state = compiled(params, state, x, labels)
            values.append(value)
        found.append([x.tobytes() for x in leaves([values, params, state])])
        assert values[-1] < values[0]
        with pytest.raises(CheckError, match=r"labels are digits .* at flat index 7\)"):
            compiled(params, state, x, np.where(np.arange(128) == 7, 10, labels))
    assert found[0] == found[1]


# Runs each file, then the program of its kernels on the arrays of a file, twice: as jitted and as
# plain Python, each in a process of its own.
DRIVER = """
import json, runpy, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
plan = json.loads((folder / "plan.json").read_text())
arrays = np.load(folder / "arrays.npz")
kernels = []
for i, name in enumerate(plan["names"]):
    module = runpy.run_path(str(folder / f"kernel_{i}.py"), run_name="__main__")
    kernels.append(module[name])
memory = {key: arrays[key] for key in arrays}
arena = np.full(plan["arena"], 165, np.uint8)
failures = np.zeros(3, np.int64)
with np.errstate(all="ignore"):
    for number, slots, checks, sizes in plan["calls"]:
        buffers = [
            memory[f"{kind}_{start}"] if kind != "arena"
            else arena[start : start + size].view(dtype)
            for kind, start, size, dtype in slots
        ]
        kernels[number](*buffers, *[failures] * checks, *sizes)
np.savez(folder / f"after_{sys.argv[2]}.npz", failures=failures, **memory)
"""


def written_files(
    program: Program, flat: list[np.ndarray], folder: Path, dims: Mapping[str, int]
) -> None:
    """The source of each kernel, what to call in which order, and the arrays before."""
    from irgrad.backends.numba_cpu.runtime.kernel_texts import kernel_text

    names, behind = [], []
    for i, kernel in enumerate(program.kernels):
        text = kernel_text(program, kernel.name, "numba")
        (folder / f"kernel_{i}.py").write_text(text)
        source = kernel_source(kernel, "")
        head = next(line for line in text.splitlines() if line.startswith(f"def {kernel.name}"))
        names.append(head[4 : head.index("(")])
        behind.append((int(source.checks), [dims[name] for name in source.dims]))
    calls, sized = [], instantiate(program, dims)
    for call in sized.calls:
        slots = [
            (s.kind, s.number, b.size * DTYPES[b.dtype].itemsize, DTYPES[b.dtype].numpy.str)
            for s, b in zip(call.slots, sized.kernels[call.kernel].buffers, strict=True)
        ]
        calls.append((call.kernel, slots, *behind[call.kernel]))
    plan = {"names": names, "calls": calls, "arena": sized.arena_bytes}
    (folder / "plan.json").write_text(json.dumps(plan))
    arrays = {f"input_{i}": x for i, x in enumerate(flat)}
    for i, (dtype, count) in enumerate(sized.outputs):
        arrays[f"output_{i}"] = np.zeros(as_number(count), DTYPES[dtype].numpy)
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]


def check_files(
    program: Program,
    flat: list[np.ndarray],
    folder: Path,
    expected: Sequence[np.ndarray],
    dims: Mapping[str, int] = NUMBERS,
) -> None:
    """What the files compute as jitted and as plain Python is what is expected."""
    written_files(program, flat, folder, dims)
    sized, wanted = instantiate(program, dims), [a.tobytes() for a in expected]
    printed = []
    for mode in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(folder), mode],
            env={**os.environ, "NUMBA_DISABLE_JIT": mode}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
        after = np.load(folder / f"after_{mode}.npz")
        assert after["failures"].tolist() == [0, 0, 0]
        inputs = [after[f"input_{i}"] for i in range(len(flat))]
        outputs = [after[f"output_{i}"] for i in range(len(program.outputs))]
        assert [a.tobytes() for a in collect_results(sized, inputs, outputs)] == wanted
    # Each file also prints what its kernel makes of random arrays.
    assert printed[0] == printed[1]
    assert printed[0].count("elements:") >= len(program.kernels)


def test_files_of_kernels_run_by_themselves(tmp_path: Path) -> None:
    params, _, x, labels = arguments(4, 6, 5)
    flat = [np.array(a).reshape(-1) for a in leaves([params, x, labels])]
    program = case("gradients", trace(gradients, params, x, labels), flat).program
    assert len(program.kernels) > 3
    run = run_llvm(program, flat)
    check_files(program, flat, tmp_path, collect_results(program, run.inputs, run.outputs))


def normalised(x: Any, y: Any) -> Any:
    """Rows of a product that add up to 1."""
    z = inp.abs(x @ y) + 1
    return z / inp.sum(z, axis=1, keepdims=True)


def test_files_of_kernels_with_named_sizes_run_by_themselves(tmp_path: Path) -> None:
    graph = trace(normalised, parse_type("f32[n,m]"), parse_type("f32[m,70]"))
    one, dims = named_case("normalised", graph), {"n": 3, "m": 300}
    assert len(one.program.kernels) > 1 and one.program.slots
    arguments = one.arguments(dims)
    expected = run_program(one.program, arguments, dims).results
    check_files(one.program, [a.reshape(-1) for a in arguments], tmp_path, expected, dims)
