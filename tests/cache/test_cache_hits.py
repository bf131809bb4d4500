"""What a hit gives: the same results, reports and lines, with nothing compiled."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_programs import (
    SPECS,
    WEIGHTS,
    X,
    Y,
    expected,
    find,
    forget,
    is_hit,
    model,
    no_compiles,
    output,
    same_model,
    start_process,
)

import irgrad as ig
from irgrad import cached
from irgrad.backends.numba_cpu.runtime.watch import load_watch
from irgrad.runtime.stored_code import pack, unpack

SCRIPT = """
W = np.load(sys.argv[1]) if len(sys.argv) > 1 else np.full((4, 3), {weight}, np.float32)
def step(x, y):
    return np.tanh(x @ W) * y, (x * y.sum()).sum()
f = ig.jit(ig.value_and_grad(lambda x, y: step(x, y)[0].sum() + step(x, y)[1]))
x, y = np.ones((5, 4), np.float32), np.array([0.5, 1.0, 2.0], np.float32)
value, slope = f(x, y)
info = f.compiled(x, y).cache_info()
print(info.origin, info.disk, len(compiled), "numba" in sys.modules, "irgrad.driver" in sys.modules,
      float(value).hex(), slope.tobytes().hex())
"""


def test_a_second_process_compiles_nothing_and_the_weights_may_change(tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")

    def words(weight: float) -> list[str]:
        return output(start_process(SCRIPT.replace("{weight}", str(weight)), folder)).split()

    first, second, third = words(0.5), words(0.5), words(-0.25)
    assert first[:2] == ["compiled", "miss"]
    assert first[3] == "False"
    for again in (second, third):
        assert again[:5] == ["disk", "hit", "0", "False", "False"]
    assert second[5:] == first[5:]
    assert third[5:] != first[5:]


def test_eight_processes_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    script = SCRIPT.replace("{weight}", "0.5")
    runs = [start_process(script, str(folder)) for _ in range(8)]
    found = [output(run).split() for run in runs]
    assert len({tuple(words[5:]) for words in found}) == 1
    assert {words[0] for words in found} <= {"compiled", "disk"}
    names = sorted(path.name for path in folder.iterdir())
    assert [name for name in names if name not in ("hits", "misses")] == names[:1]
    assert names[0].endswith(".irgc")
    counted = sum((folder / name).stat().st_size for name in ("hits", "misses") if name in names)
    assert counted == 8
    assert output(start_process(script, str(folder))).split()[:3] == ["disk", "hit", "0"]


def test_everything_is_known_of_a_hit(warm: Path) -> None:
    forget()
    with no_compiles():
        compiled = ig.compile(model, *SPECS)
    info = compiled.cache_info()
    assert (info.origin, info.disk, info.why) == ("disk", "hit", str(warm))
    assert info.bytes == (warm / f"{info.key}.irgc").stat().st_size
    assert info.seconds > 0
    found, passed = compiled(X, Y)
    np.testing.assert_allclose(found, expected(), rtol=1e-5)
    np.testing.assert_array_equal(passed, Y)
    assert compiled.object_file()[:4] == b"\x7fELF"
    assert "tanh" in compiled.ir()
    assert compiled.stages[0] == "traced"
    assert "kernels:" in compiled.report()
    assert all(kernel.origin for kernel in compiled.kernels)
    assert "simplify" in compiled.explain() or "fuse" in compiled.explain()
    assert compiled.captured[0].array is WEIGHTS
    bound = compiled.bind(X, Y)
    np.testing.assert_array_equal(bound()[0], found)


@pytest.mark.parametrize("function", [model, same_model])
def test_lines_are_those_of_the_new_trace(warm: Path, function: Callable[..., Any]) -> None:
    with no_compiles():
        compiled = ig.compile(function, *SPECS)
        assert compiled.cache_info().disk == "hit"
        with pytest.raises(ig.errors.CheckError, match="positive") as raised:
            compiled(X, -Y)
    assert f", in {function.__name__}\n" in str(raised.value)
    origins = {location.function for kernel in compiled.kernels for location in kernel.origin}
    assert origins == {function.__name__}


def test_an_entry_of_other_passes_is_told_of(warm: Path) -> None:
    graph = ig.trace(model, *SPECS)
    (path,) = warm.glob("*.irgc")
    stored = unpack(path.read_bytes(), path.stem, graph)
    path.write_bytes(pack(path.stem, replace(stored, text=stored.text + " ")))
    compiled = ig.compile(model, *SPECS)
    np.testing.assert_allclose(compiled(X, Y)[0], expected(), rtol=1e-5)
    with pytest.raises(ig.errors.InternalError, match="doctor --clear"):
        compiled.ir()


# -- when it is not asked --------------------------------------------------------------------------


def test_what_looks_at_each_step_does_without(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = ig.trace(model, *SPECS)
    for settings, options, why in (
        ({"IRGRAD_VERIFY": "1"}, {}, "IRGRAD_DUMP and IRGRAD_VERIFY look at each step"),
        ({"IRGRAD_DUMP": str(tmp_path)}, {}, "IRGRAD_DUMP and IRGRAD_VERIFY look at each step"),
        ({"IRGRAD_CACHE": "off"}, {}, "IRGRAD_CACHE=off"),
        ({}, {"check": "all"}, "check='all' looks at each step"),
        ({}, {"emit": "numba"}, "there is no object file of this form"),
    ):
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            assert find(graph, ig.Options(**options)) == why
    info = ig.compile(model, *SPECS, target="reference").cache_info()
    assert (info.origin, info.disk) == ("interpreted", "off")
    assert info.why == "the target has no object files"


def test_faults_of_a_program_are_found_before_the_cache_is_asked(warm: Path) -> None:
    def widened(x: Any, y: Any) -> Any:
        return x + y

    with pytest.raises(ig.errors.DTypeError, match="strict"):
        ig.compile(widened, "f32[3]", "f64[3]", strict=True)
    with pytest.raises(ig.errors.LoweringError, match="f32 or f64"):
        ig.compile(np.matmul, "f16[2,2]", "f16[2,2]")
    with pytest.raises(ig.errors.BackendError, match="abacus"):
        ig.compile(widened, "f32[3]", "f32[3]", target="abacus")


def test_a_line_tells_of_a_hit(
    warm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IRGRAD_DEBUG", "1")
    ig.compile(model, *SPECS)
    assert "kernels from the cache" in capsys.readouterr().err


# -- memory ----------------------------------------------------------------------------------------


def test_a_thousand_dropped_functions_are_freed(warm: Path) -> None:
    def once(number: int) -> tuple[weakref.ref[Any], ...]:
        function = ig.jit(lambda x, y: model(x, y))
        function(X, Y)
        compiled = function.compiled(X, Y)
        return tuple(map(weakref.ref, (function, compiled, compiled._parts.executable)))

    with no_compiles():
        dropped = [ref for number in range(1000) for ref in once(number)]
    gc.collect()
    assert not [ref for ref in dropped if ref() is not None]


def test_machine_code_goes_with_its_last_owner(warm: Path) -> None:
    forget()
    first, second = (ig.compile(model, *SPECS) for _ in range(2))
    assert first.cache_info().origin == "disk"
    assert second.cache_info().origin == "memory"
    code = weakref.ref(first._parts.executable._code)
    assert second._parts.executable._code is code()
    del first
    forget()
    assert code() is not None
    np.testing.assert_allclose(second(X, Y)[0], expected(), rtol=1e-5)
    del second
    forget()
    assert code() is None
    assert is_hit(ig.trace(model, *SPECS))


def test_gradients_of_arrays_use_it(empty: Path) -> None:
    def slope() -> np.ndarray:
        cached._compiled_text.cache_clear()
        forget()
        return ig.grad(lambda x: (x * 3.5).sum())(X)

    first = slope()
    (path,) = empty.glob("*.irgc")
    assert struct.unpack_from("<8sQ", path.read_bytes()) == (b"IRGCACHE", 2)
    with no_compiles():
        np.testing.assert_array_equal(slope(), first)


def test_watched_code_is_the_same_code(warm: Path) -> None:
    load_watch()  # one module for all programs of a process
    with no_compiles():
        compiled = ig.compile(model, *SPECS, debug_nan=True)
    assert compiled.cache_info().disk == "hit"
    np.testing.assert_allclose(compiled(X, Y)[0], expected(), rtol=1e-5)
    y = np.array([1, np.inf, 1], np.float32)
    with pytest.raises(ig.errors.NonFiniteError, match=r"^argument y: .* got inf at index \(1,\)"):
        compiled(X, y)
