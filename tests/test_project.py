"""The shape of the project itself: layers of imports, sizes, packaging, lint."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
LONG_FUNCTIONS: frozenset[str] = frozenset()  # may only shrink

# Each module or package with its layer; a module imports lower layers and its own package.
LAYERS = {
    "errors": 1, "config": 1,
    "ir": 2,
    "ops": 3,
    "interpret": 4, "tracing": 4, "autodiff": 4, "rewrite": 4, "kernel": 4,
    "passes": 5, "runtime": 5, "view": 5.5,
    "op_rules": 5.5, "self_check": 5.5, "nonfinite": 5.7, "driver": 6, "subgraph": 6,
    "cached": 6.2, "jitted": 6.5,
    "transforms": 7, "differentiation": 7, "custom_rules": 7, "numpy": 7, "random": 7, "control": 7,
    "batching": 7.5, "jacobian_layout": 7.5, "jacobians": 7.6,
    "linalg": 8, "nn": 8, "optim": 8, "frontends": 8,
    "embed": 9, "testing": 9, "tools": 9.5, "__init__": 10,
}  # fmt: skip
BACKEND_LAYERS = {name for name, layer in LAYERS.items() if layer <= 5 and name != "passes"}
HEAVY = {"numba", "scipy", "llvmlite", "rich", "typer", "sklearn"}


def sources() -> list[Path]:
    """Every Python file of the package and the backends."""
    return sorted([*(ROOT / "irgrad").rglob("*.py"), *(ROOT / "backends").rglob("*.py")])


def module_name(path: Path) -> list[str]:
    """The dotted name's parts, backends as irgrad.backends."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "backends":
        parts.insert(0, "irgrad")
    return parts


def imports(path: Path) -> list[tuple[int, list[str]]]:
    """(line, absolute dotted parts) of each irgrad module that a file imports."""
    found = []
    name = module_name(path)
    package = name if path.name == "__init__.py" else name
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level]
            target = base + (node.module.split(".") if node.module else [])
            targets = [target] if len(target) > 1 else [target + [a.name] for a in node.names]
            found += [(node.lineno, t) for t in targets]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("irgrad"):
            found.append((node.lineno, (node.module or "").split(".")))
        elif isinstance(node, ast.Import):
            names = [a.name.split(".") for a in node.names]
            found += [(node.lineno, name) for name in names if name[0] == "irgrad"]
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_import_lower_layers_alone(path: Path) -> None:
    own = module_name(path)
    wrong = []
    for line, target in imports(path):
        if len(target) < 2:
            continue
        if own[1] == "backends":
            if target[1] != "backends" and target[1] not in BACKEND_LAYERS:
                wrong.append((line, ".".join(target)))
        elif target[1] == "backends" or (
            target[1] != own[1] and LAYERS[target[1]] >= LAYERS[own[1]]
        ):
            wrong.append((line, ".".join(target)))
    assert not wrong, f"{path.relative_to(ROOT)} (layer {own[1]}) imports {wrong}"


def test_sizes_of_files_and_functions() -> None:
    too_long = []
    for path in sources():
        text = path.read_text()
        name = str(path.relative_to(ROOT))
        if text.count("\n") > MAX_FILE_LINES:
            too_long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                label = f"{name}:{node.name}"
                if length > MAX_FUNCTION_LINES and label not in LONG_FUNCTIONS:
                    too_long.append(f"{label}: {length} lines")
    assert not too_long, too_long


def test_packaging_lists_every_folder() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(config["tool"]["setuptools"]["packages"])
    found = {
        ".".join(module_name(path)[:-1]) for path in sources() if path.name == "__init__.py"
    }
    assert listed == found
    folders = {".".join(module_name(path)[:-1]) for path in sources()}
    assert folders == found, "a folder of modules has no __init__.py"


def test_top_level_is_fixed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    allowed = {"pyproject.toml", "README.md", "irgrad", "backends", "tests", "samples", "LICENSE",
               "CHANGELOG.md"}
    top = {name.split("/")[0] for name in listed}
    assert {name for name in top if not name.startswith(".")} <= allowed


def test_import_is_light_and_changes_nothing() -> None:
    code = (
        "import sys, warnings, os\n"
        "before = (list(warnings.filters), dict(os.environ), sys.getrecursionlimit())\n"
        "import irgrad\n"
        "import numpy\n"
        "after = (list(warnings.filters), dict(os.environ), sys.getrecursionlimit())\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
        "assert before[1:] == after[1:]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ruff() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "irgrad", "backends", "tests", "samples"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout
