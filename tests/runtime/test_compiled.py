"""What a compiled function tells of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import irgrad as ig

WEIGHTS = np.linspace(-1, 1, 12).reshape(4, 3)


def model(params: Any, x: Any) -> Any:
    hidden = np.tanh(x @ WEIGHTS + params["b"])
    return hidden.sum(axis=1), hidden * 2


SPECS = ({"b": "f64[3]"}, "f64[5,4]")


@pytest.fixture(scope="module")
def compiled() -> ig.Compiled:
    return ig.compile(model, *SPECS)


def test_stages_are_texts_that_can_be_read_back(compiled: ig.Compiled) -> None:
    stages = compiled.stages
    assert stages[0] == "traced"
    assert stages[-1] == "fuse"
    assert len(set(stages)) == len(stages)
    for stage in stages:
        text = compiled.ir(stage)
        assert str(ig.ir.parse(text)) == text
    assert compiled.ir() == compiled.ir("fuse")
    assert compiled.ir("traced") == str(compiled.graph)
    assert "fused" in compiled.diff("traced", "fuse")
    with pytest.raises(ig.errors.ArgumentError, match="stage: expected one of traced, .* 'nope'"):
        compiled.ir("nope")


def test_kernels_have_code_and_lines(compiled: ig.Compiled) -> None:
    names = [kernel.name for kernel in compiled.kernels]
    assert len(set(names)) == len(names) >= 1
    lines = {location.source() for kernel in compiled.kernels for location in kernel.origin}
    assert 'hidden = np.tanh(x @ WEIGHTS + params["b"])' in lines
    for kernel in compiled.kernels:
        assert kernel.text.startswith(f"kernel {kernel.name}(")
        assert "define" in kernel.source("llvm")
        assert "ret" in kernel.source("asm")
        assert kernel.flops > 0
        assert kernel.bytes > 0
    message = "source: expected 'numba', 'llvm', 'asm', 'llvm-lines' or 'asm-lines', got 'c'"
    with pytest.raises(ig.errors.ArgumentError, match=message):
        compiled.kernels[0].source("c")


def test_the_report_names_everything(compiled: ig.Compiled) -> None:
    report = compiled.report()
    assert report.startswith(f"model for cpu: {len(compiled.kernels)} kernels, ")
    for kernel in compiled.kernels:
        assert kernel.name in report
    assert f"arena {compiled.plan.peak_bytes:,} bytes" in report
    assert "captured:\n  WEIGHTS f64[4,3]" in report
    assert "trace " in report.splitlines()[-1]
    assert "optimise " in report.splitlines()[-1]
    (capture,) = compiled.captured
    assert (capture.name, capture.type) == ("WEIGHTS", "f64[4,3]")
    assert capture.array is WEIGHTS
    assert compiled.cache_info().origin == "compiled"
    assert compiled.cache_info().seconds > 0


def test_equal_programs_share_their_code() -> None:
    def scaled(factor: float) -> ig.Compiled:
        return ig.compile(lambda x: np.cbrt(x) * factor, "f64[17]")

    first, again, other = scaled(3.25), scaled(3.25), scaled(4.25)
    assert [c.cache_info().origin for c in (first, again, other)] == [
        "compiled", "memory", "compiled",
    ]
    x = np.full(17, 8.0)
    assert first(x)[0] == again(x)[0] == 6.5
    assert other(x)[0] == 8.5
    reference = ig.compile(lambda x: x, "f64[]", target="reference")
    assert reference.cache_info().origin == "interpreted"


def test_edits_are_explained() -> None:
    text = ig.compile(lambda x: (x * 1.0 + 0.0) * 2, "f64[4]", target="reference").explain()
    assert "simplify: " in text
    assert "test_compiled.py" in text


def test_widenings_are_listed_and_refused_under_strict() -> None:
    def f(x: Any, y: Any) -> Any:
        return x * 2.0 + y

    specs = "f32[4]", "f64[4]"
    report = ig.compile(f, *specs, target="reference").report()
    assert "widened floats:\n  f32 is widened to f64" in report
    with pytest.raises(ig.errors.DTypeError, match="expected no widened float array") as caught:
        ig.compile(f, *specs, strict=True)
    assert str(caught.value).endswith("return x * 2.0 + y")
    ig.compile(f, "f32[4]", "f32[4]", strict=True, target="reference")


def test_graphs_are_compiled_and_called_as_the_function_was() -> None:
    traced = ig.trace(lambda p: {"y": p["a"] + p["b"]}, {"a": "f64[2]", "b": "f64[]"})
    graph = ig.ir.parse(str(traced))
    for target in ("cpu", "reference"):
        compiled = ig.compile(graph, target=target)
        result = compiled({"a": np.ones(2), "b": 2.0})
        np.testing.assert_array_equal(result["y"], [3, 3])
    with pytest.raises(ig.errors.ArgumentError, match="compile: expected a graph alone"):
        ig.compile(graph, "f64[2]")


def test_compile_takes_jitted_functions_and_static_values() -> None:
    def f(x: Any, n: int) -> Any:
        return x**n

    cubed = ig.compile(f, "f64[3]", 3, static=1, target="reference")
    assert cubed(np.full(3, 2.0)).tolist() == [8, 8, 8]
    jitted = ig.jit(lambda x: x + 1, specs=("f64[3]",))
    assert ig.compile(jitted, target="reference")(np.zeros(3)).tolist() == [1, 1, 1]
    with pytest.raises(ig.errors.ArgumentError, match="compile: expected a function or a graph"):
        ig.compile("f")  # type: ignore[arg-type]


BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"numeric": "exact"}, "got 'numeric'; did you mean numerics?"),
    "numerics": ({"numerics": "fast"}, "option numerics: expected 'exact' or"),
    "emit": ({"emit": "c"}, "option emit: expected 'llvm' or 'numba', got 'c'"),
    "debug_nan": ({"debug_nan": 1}, "option debug_nan: expected False or True, got 1"),
    "memory_budget": ({"memory_budget": 1}, "option memory_budget: expected None, got 1"),
    "arch": ({"arch": "x86-64-v3"}, "option arch: expected 'native'"),
    "profile": ({"profile": "mine"}, "option profile: expected 'default'"),
    "check": ({"check": "some"}, "option check: expected 'none' or 'all', got 'some'"),
    "strict": ({"strict": 1}, "option strict: expected False or True, got 1"),
    "max_retraces": ({"max_retraces": -1}, "option max_retraces: expected an integer >= 0"),
    "both": ({"options": ig.Options(), "strict": True}, "expected options as an Options, alone"),
}


@pytest.mark.parametrize("kind", BAD_OPTIONS)
def test_bad_options_are_refused(kind: str) -> None:
    options, message = BAD_OPTIONS[kind]
    with pytest.raises(ig.errors.ArgumentError, match=message.replace("?", r"\?")):
        ig.compile(lambda x: x, "f64[]", **options)


def test_options_reach_the_compile() -> None:
    graph = ig.trace(lambda x, y: x * y + 1.0, "f64[4]", "f64[4]")
    assert "fma" in ig.compile(graph).ir()
    exact = ig.compile(graph, options=ig.Options(numerics="exact"))
    assert exact.options.numerics == "exact"
    assert "fma" not in exact.ir()
    assert "fma" not in ig.compile(graph, numerics="exact", target="reference").ir()


def test_settings_of_the_environment(tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    def named(x: Any) -> Any:
        return x + 1

    monkeypatch.setenv("IRGRAD_DUMP", str(tmp_path))
    monkeypatch.setenv("IRGRAD_DEBUG", "1")
    monkeypatch.setenv("IRGRAD_VERIFY", "1")
    compiled = ig.compile(named, "f64[3]")
    files = sorted(path.name for path in (tmp_path / "named").iterdir())
    assert len(files) == len(compiled.stages) - 1
    assert files[0] == "01_infer.irg"
    assert (tmp_path / "named" / files[-1]).read_text() == compiled.ir()
    assert capsys.readouterr().err.startswith("irgrad: named for cpu: 1 kernels, ")


def test_calls_may_stand_after_the_first_pass(monkeypatch: Any) -> None:
    @ig.custom_jvp
    def f(x: Any) -> Any:
        return np.sin(x)

    f.defjvp(lambda primals, tangents: (np.sin(primals[0]), tangents[0]))
    monkeypatch.setenv("IRGRAD_VERIFY", "1")
    compiled = ig.compile(lambda x: f(x) * 2, "f64[3]", target="reference")
    assert "custom_jvp_call" in compiled.ir("infer")
    assert "custom_jvp_call" not in compiled.ir("inline_calls")
