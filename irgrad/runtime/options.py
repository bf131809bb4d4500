"""The options of a compile."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, Literal, TypeVar

from ..errors import ArgumentError, IrgradError, brief
from ..tracing.locations import add_location, user_locations
from .progress import OnProgress

C = TypeVar("C", bound=type)


def _refusing_others(cls: C) -> C:
    """Let a dataclass raise ArgumentError, with the user's line, for fields that it lacks."""
    init: Callable[..., None] = vars(cls)["__init__"]

    @wraps(init)
    def checked(self: Any, /, *args: Any, **given: Any) -> None:
        try:
            _require_known(cls.__name__, cls, given)
            init(self, *args, **given)
        except IrgradError as error:
            add_location(error, user_locations())
            raise
        except TypeError as error:
            listed = ", ".join(field.name for field in fields(cls))
            found = ArgumentError(f"{cls.__name__}: expected {listed}, each once, got others: "
                                  f"{error}")
            add_location(found, user_locations())
            raise found from None

    cls.__init__ = checked  # type: ignore[misc]
    return cls


@_refusing_others
@dataclass(frozen=True, slots=True)
class Options:
    """How to compile.

    emit: the form that kernels are compiled from: "llvm", or "numba", readable Python that Numba
    compiles and NUMBA_DISABLE_JIT=1 runs as it is, with the same results. numerics: the highest
    class of rewrites, "exact", "stable" or "approximate". strict: widening a float array is an
    error. check: "all" compares each pass and each kernel with the interpreter, and the derivative
    rules behind a gradient with differences. debug_nan: a result that holds NaN or an infinity
    raises NonFiniteError, which names the operation that made it; the kernels are the same, and
    donated arrays are as before the call. max_retraces: how often one jitted function may be
    compiled again. memory_budget: bytes, None for no bound. arch: the processor that code is for.
    profile: the name of the tuning profile. progress: called as a compile goes on with a phase,
    the steps of it that are done, and how many it has; what it raises ends the compile.

    Raises ArgumentError for values that are not known or that this version does not have.
    """

    emit: Literal["llvm", "numba"] = "llvm"
    numerics: Literal["exact", "stable", "approximate"] = "stable"
    strict: bool = False
    check: str = "none"
    debug_nan: bool = False
    max_retraces: int = 64
    memory_budget: int | None = None
    arch: str = "native"
    profile: str = "default"
    progress: OnProgress | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _expect("emit", self.emit, ("llvm", "numba"))
        _expect("numerics", self.numerics, ("exact", "stable", "approximate"))
        _expect("strict", self.strict, (False, True))
        _expect("check", self.check, ("none", "all"))
        _expect("debug_nan", self.debug_nan, (False, True))
        _expect("memory_budget", self.memory_budget, (None,))
        _expect("arch", self.arch, ("native",))
        _expect("profile", self.profile, ("default",))
        if type(self.max_retraces) is not int or self.max_retraces < 0:
            raise ArgumentError(
                f"option max_retraces: expected an integer >= 0, got {brief(self.max_retraces)}"
            )
        if self.progress is not None and not callable(self.progress):
            raise ArgumentError(
                f"option progress: expected a function or None, got {brief(self.progress)}"
            )


def _expect(name: str, value: object, known: tuple[object, ...]) -> None:
    """Raise ArgumentError unless `value` is one of the known values, types included."""
    if not any(type(value) is type(one) and value == one for one in known):
        listed = " or ".join(repr(one) for one in known)
        raise ArgumentError(f"option {name}: expected {listed}, got {brief(value)}")


def make_options(function: str, given: Mapping[str, Any]) -> Options:
    """The options given by keyword to `function`, where `options` may be an Options as a whole.

    Raises ArgumentError for a name that is no option, naming the nearest one.
    """
    rest = dict(given)
    base = rest.pop("options", None)
    if base is not None:
        if not isinstance(base, Options) or rest:
            raise ArgumentError(
                f"{function}: expected options as an Options, alone, or as keywords, got "
                f"{type(base).__name__} and {brief(sorted(rest))}"
            )
        return base
    _require_known(function, Options, rest)
    return Options(**rest)


def _require_known(function: str, cls: type, names: Iterable[str]) -> None:
    """Raise ArgumentError for a name that is no field of a dataclass, naming the nearest one."""
    known = [field.name for field in fields(cls)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ArgumentError(
                f"{function}: expected options among {', '.join(known)}, got {brief(name)}{hint}"
            )
