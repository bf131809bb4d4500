"""From a fused graph to a planned program of kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import LoweringError
from ..ir.dims import Dim, Size, names, product
from ..ir.graph import Graph, Node, Value
from ..ir.location import Location, describe, merge
from ..ir.types import TensorType
from ..kernel.ir import (
    Affine,
    Buffer,
    Check,
    Contract,
    For,
    Kernel,
    Load,
    Reduce,
    Statement,
    Store,
    kernel_dims,
)
from ..kernel.plan import Layout, Step, Storages, pair_donations, plan_memory
from ..kernel.program import Call, CheckSite, Program, Result, Slot
from ..ops.size_guards import named_sizes
from .lower_contract import ContractLowering
from .lower_loop import LoopLowering
from .lower_movement import lower_movement


@dataclass(frozen=True, slots=True)
class Lowered:
    """The steps of a graph before memory is planned.

    storage: the storage behind each value. values: the type of each storage. guards: how many first
    steps hold all checks. results: the storage behind each output leaf.
    """

    steps: tuple[Step, ...]
    types: Mapping[int, TensorType]
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    guards: int
    checks: tuple[CheckSite, ...]
    nodes: tuple[int, ...]


def lower(graph: Graph) -> Program:
    """Lower a fused graph, once for all numbers that its named sizes may be.

    Raises LoweringError for a size of a name that no input has, or an op that kernels do not cover.
    """
    _require_names_of_inputs(graph)
    return _program(graph, lower_steps(graph))


def lower_region(node: Node, name: str) -> Kernel:
    """The kernel of one fused node."""
    region: Graph = node.attribute("body")
    kind = node.attribute("kind")
    if kind == "contract":
        kernel = ContractLowering(region, name).kernel()
    elif kind in ("loop", "check"):
        kernel = LoopLowering(region, node.attribute("rows"), name).kernel()
    else:
        kernel = lower_movement(region, name)
    dims = kernel_dims(kernel.buffers, kernel.body)
    return replace(kernel, origin=node.locations, dims=dims)


def lower_steps(graph: Graph) -> Lowered:
    """Kernels in execution order, with what each reads and writes."""
    fused = [key for key in graph.order() if graph[key].op == "fused"]
    guards, rest = _schedule(graph, fused)
    storage: dict[Value, int] = {}
    types: dict[int, TensorType] = {}

    def store(value: Value) -> int:
        storage[value] = len(types)
        types[storage[value]] = graph.type(value)
        return storage[value]

    inputs = tuple(store(Value(key)) for key in graph.inputs)
    steps: list[Step] = []
    checks: list[CheckSite] = []
    for key in guards + rest:
        node = graph[key]
        kernel = lower_region(node, f"k{len(steps)}_{node.name}")
        kernel = _number_checks(kernel, node, checks)
        reads = tuple(storage[_source(graph, operand)] for operand in node.operands)
        writes = tuple(store(Value(key, r)) for r in range(len(node.types)))
        steps.append(Step(kernel, reads, writes))
    results: list[int] = []
    for value in graph.outputs:
        found = storage[_source(graph, value)]
        renamed = found < len(inputs) and types[found] != graph.type(value)
        fresh = renamed or found in results
        results.append(_copied(found, types, steps, _lines(graph, value)) if fresh else found)
    nodes = tuple(guards + rest)
    return Lowered(tuple(steps), types, inputs, tuple(results), len(guards), tuple(checks), nodes)


def _require_names_of_inputs(graph: Graph) -> None:
    """Raise LoweringError for a name in a fused graph or its regions that no input has."""
    known = frozenset(named_sizes(graph))
    for key in graph.order():
        if graph[key].op != "fused":
            continue
        region: Graph = graph[key].attribute("body")
        for inner in region.order():
            node = region[inner]
            for type_ in node.types:
                assert type_ is not None, "a fused graph has types"
                _require_known(node.op, known, type_.shape, type_)
            for name, value in node.attributes:
                sizes = value if isinstance(value, tuple) else (value,)
                _require_known(node.op, known, sizes, f"{name}={value}")


def _require_known(op: str, known: frozenset[str], sizes: Iterable[object], what: object) -> None:
    strange = {name for size in sizes if isinstance(size, Dim) for name in names(size) - known}
    if strange:
        raise LoweringError(
            f"{op}: expected sizes that the inputs determine, got "
            f"{', '.join(sorted(strange))} in {what}"
        )


def _schedule(graph: Graph, fused: list[int]) -> tuple[list[int], list[int]]:
    """Steps that checks depend on first; steps of which nothing depends last, as they alone may
    overwrite donated inputs that others still read."""
    needed: set[int] = set()
    work = list(graph.effects)
    while work:
        key = work.pop()
        if key not in needed:
            needed.add(key)
            work += [operand.node for operand in graph[key].operands]
    guards = [key for key in fused if key in needed]
    rest = [key for key in fused if key not in needed]
    inner = [key for key in rest if any(graph[user].op == "fused" for user in _readers(graph, key))]
    last = [key for key in rest if key not in set(inner)]
    return guards, inner + last


def _readers(graph: Graph, key: int) -> list[int]:
    """The fused nodes that read a node, directly or through a renamed shape."""
    readers: list[int] = []
    for user in graph.users(key):
        readers += _readers(graph, user) if graph[user].op == "reshape" else [user]
    return readers


def _source(graph: Graph, value: Value) -> Value:
    """The value whose memory a value is, through reshapes outside of kernels."""
    while graph[value.node].op == "reshape":
        value = graph[value.node].operands[0]
    return value


def _lines(graph: Graph, value: Value) -> tuple[Location, ...]:
    """The source lines of a value, those of what it is a reshape of included."""
    found = [graph[value.node].locations]
    while graph[value.node].op == "reshape":
        value = graph[value.node].operands[0]
        found.append(graph[value.node].locations)
    return merge(*found)


def _number_checks(kernel: Kernel, node: Node, checks: list[CheckSite]) -> Kernel:
    """Give the checks of a kernel their numbers in the program."""
    region: Graph = node.attribute("body")
    if not region.effects:
        return kernel
    (effect,) = region.effects
    found = region[effect]
    line = describe(found.locations[0]) if found.locations else ""
    checks.append(CheckSite(str(found.attribute("message")), line))
    return replace(kernel, body=_with_check(kernel.body, len(checks) - 1))


def _with_check(body: tuple[Statement, ...], number: int) -> tuple[Statement, ...]:
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, Check):
            statement = replace(statement, check=number)
        elif isinstance(statement, For | Reduce | Contract):
            statement = replace(statement, body=_with_check(statement.body, number))
        result.append(statement)
    return tuple(result)


def _copied(
    storage: int,
    types: dict[int, TensorType],
    steps: list[Step],
    origin: tuple[Location, ...],
) -> int:
    """A copy of a storage: for a value that leaves the function a second time, an input that does
    in another shape, or a result that its kernel cannot write where it belongs.

    origin: the source lines of the value.
    """
    copy = len(types)
    type_ = types[copy] = types[storage]
    size = _elements(type_)
    name = type_.dtype.name
    at = Affine(0, (("i", 1),))
    body = For("i", size, (Load("v0", "a0", at, name), Store("r0", at, "v0")))
    kernel = Kernel(
        f"k{len(steps)}_copy",
        (Buffer("a0", name, size, "read"), Buffer("r0", name, size, "write")),
        (body,),
        origin,
        bytes=2 * size * type_.dtype.itemsize,
        dims=tuple(sorted(names(size))),
    )
    steps.append(Step(kernel, (storage,), (copy,)))
    return copy


# -- the program -----------------------------------------------------------------------------------


def _program(graph: Graph, lowered: Lowered) -> Program:
    """Plan memory and address every parameter of every call."""
    lowered, layout = plan_steps(graph, lowered)
    results = frozenset(lowered.results) - frozenset(lowered.inputs)
    outputs = [s for s in dict.fromkeys(lowered.results) if layout.home[s] == s and s in results]
    slots = _slots(lowered, layout, outputs)
    kernels, index = _shared_kernels(layout.kernels)
    calls = tuple(
        Call(index[i], _arguments(step, layout, i, slots), step.kernel.origin)
        for i, step in enumerate(lowered.steps)
    )
    input_of = {s: n for n, s in enumerate(lowered.inputs)}
    written = frozenset(
        input_of[layout.home[s]] for s in results if layout.home[s] in input_of
    )
    return Program(
        kernels,
        calls,
        inputs=tuple(_buffer_type(lowered.types[s]) for s in lowered.inputs),
        outputs=tuple(_buffer_type(lowered.types[s]) for s in outputs),
        results=tuple(
            _result(graph, value, s, layout, input_of, outputs)
            for value, s in zip(graph.outputs, lowered.results)
        ),
        arena_bytes=layout.arena_bytes,
        written=written,
        checks=lowered.checks,
        guard_calls=lowered.guards,
        dims=named_sizes(graph),
        slots=layout.slots,
    )


def plan_steps(graph: Graph, lowered: Lowered) -> tuple[Lowered, Layout]:
    """A plan that has every result with a partner in the memory of that donated input.

    A result that is written too early for that, or by a kernel that reads its partner elsewhere, is
    copied there at the end.
    """
    storages = _storages(graph, lowered)
    layout = plan_memory(lowered.steps, storages, lowered.guards)
    missed = {r for r, donated in storages.partners.items() if layout.home[r] != donated}
    if not missed:
        return lowered, layout
    types, steps = dict(lowered.types), list(lowered.steps)
    results = tuple(
        _copied(s, types, steps, _lines(graph, value)) if s in missed else s
        for s, value in zip(lowered.results, graph.outputs)
    )
    lowered = replace(lowered, steps=tuple(steps), types=types, results=results)
    storages = _storages(graph, lowered)
    layout = plan_memory(lowered.steps, storages, lowered.guards)
    assert all(layout.home[r] == donated for r, donated in storages.partners.items())
    return lowered, layout


def _storages(graph: Graph, lowered: Lowered) -> Storages:
    inputs = frozenset(lowered.inputs)
    leaves = {s: graph.type(v) for s, v in zip(lowered.results, graph.outputs) if s not in inputs}
    donated = [
        lowered.inputs[leaf]
        for leaf in sorted(graph.signature.donated)
        if lowered.inputs[leaf] not in lowered.results
    ]
    return Storages(
        sizes={s: _elements(t) * t.dtype.itemsize for s, t in lowered.types.items()},
        outside=inputs | frozenset(leaves),
        partners=pair_donations(list(leaves), donated, {**lowered.types, **leaves}),
        results=frozenset(leaves),
    )


def _elements(type_: TensorType) -> Size:
    return product(type_.shape)


def _buffer_type(type_: TensorType) -> tuple[str, Size]:
    return type_.dtype.name, _elements(type_)


def _result(
    graph: Graph,
    value: Value,
    storage: int,
    layout: Layout,
    input_of: Mapping[int, int],
    outputs: list[int],
) -> Result:
    type_ = graph.type(value)
    shape = type_.shape
    home = layout.home[storage]
    if storage in input_of:
        kind = "donated" if input_of[storage] in graph.signature.donated else "input"
        return Result(kind, input_of[storage], shape, type_.dtype.name)
    if home in input_of:
        return Result("donated", input_of[home], shape, type_.dtype.name)
    return Result("output", outputs.index(home), shape, type_.dtype.name)


def _slots(lowered: Lowered, layout: Layout, outputs: list[int]) -> dict[int, Slot]:
    slots = {s: _arena_slot(layout, offset) for s, offset in layout.offsets.items()}
    for number, storage in enumerate(lowered.inputs):
        slots[storage] = Slot("input", number)
    for number, storage in enumerate(outputs):
        slots[storage] = Slot("output", number)
    return slots


def _arena_slot(layout: Layout, offset: int) -> Slot:
    return Slot("slot" if layout.slots else "arena", offset)


def _arguments(step: Step, layout: Layout, i: int, slots: Mapping[int, Slot]) -> tuple[Slot, ...]:
    """Slots of the parameters that are left after merging, then of the local buffers."""
    names = {b.name for b in layout.kernels[i].buffers}
    found = [
        slots[layout.home[storage]]
        for buffer, storage in zip(step.kernel.buffers, step.reads + step.writes)
        if buffer.name in names
    ]
    return tuple(found + [_arena_slot(layout, offset) for offset in layout.local_offsets[i]])


def _shared_kernels(kernels: tuple[Kernel, ...]) -> tuple[tuple[Kernel, ...], list[int]]:
    """Kernels of equal meaning once, with the lines of all; and for each call the position of its
    kernel."""
    unique: dict[object, int] = {}
    result: list[Kernel] = []
    index: list[int] = []
    for kernel in kernels:
        key = (kernel.buffers, kernel.body)
        if key not in unique:
            unique[key] = len(result)
            result.append(kernel)
        else:
            first = result[unique[key]]
            origin = merge(first.origin, kernel.origin)
            result[unique[key]] = replace(first, origin=origin)
        index.append(unique[key])
    return tuple(result), index
