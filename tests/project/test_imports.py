"""Imports go one way: from the command line down to the mathematics, never back."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# A module may import from its own group and from the groups above it in this list.
ORDER = [
    {"stats", "finding"},
    {"words"},
    {"decide"},
    {"watch", "episodes"},
    {"roles", "measures", "exploring"},
    {"tables", "profile", "roles_guess", "config"},
    {"checks"},
    {"questions"},
    {"report", "release", "events", "retrain"},
    {"integrations", "service"},
    {"afterlaunch"},  # the public names, and no others, through `import afterlaunch`
    {"demo"},
    {"cli", "__main__"},
]
GROUP = {part: number for number, parts in enumerate(ORDER) for part in parts}

# Narrower than the order: the only parts, or modules, that these may import besides themselves.
ONLY = {
    "stats": {"stats"},
    "finding": {"finding"},
    "report": {"report", "finding", "words"},
    "checks": {
        "checks",
        "stats",
        "finding",
        "words",
        "decide",
        "watch",
        "episodes",
        "roles",
        "measures",
        "profile.types",
        "profile.arms",
        "profile.exposures",
        "profile.logged",
        "profile.compared",
        "profile.bins",
        "profile.scores",
    },
}

# Wider than the order, and allowed where importing the module leaves them alone.
EXEMPT = {
    ("finding", "report"): "`Review.save` and the notebook view hand themselves to the report",
}

# Who may import the libraries that count rows, that draw, and that talk to a person.
LIBRARIES = {
    "altair": {"report", "service"},
    "vl_convert": {"report", "service"},
    "rich": {"report", "cli", "demo"},
    "typer": {"cli"},
    "fastapi": {"service", "events"},
    "sqlalchemy": {"service", "release"},
    "duckdb": {"tables", "profile"},
    "pandas": {"tables"},
}


@dataclass(frozen=True)
class Import:
    """One import statement: who, what, where, and whether importing the importer leaves it alone."""

    importer: str
    imported: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def modules(src: Path) -> dict[str, Path]:
    names = {}
    for path in sorted(src.glob("afterlaunch/**/*.py")):
        parts = path.relative_to(src).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(name: str, path: Path, known: set[str]) -> Iterator[Import]:
    """Every import of one module, the lazy ones too: inside functions and under `TYPE_CHECKING`."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner != "afterlaunch.__version__":
                    yield Import(name, inner if inner in known else base, node.lineno, lazy)
        inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        inside |= isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def all_imports(src: Path) -> list[Import]:
    paths = modules(src)
    return [i for name, path in paths.items() for i in imports(name, path, set(paths))]


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "afterlaunch"


def part(module: str) -> str:
    """The first name below the package: `stats` of `afterlaunch.stats.intervals`."""
    return module.split(".")[1] if "." in module else module


def is_exempt(i: Import) -> bool:
    return i.lazy and (part(i.importer), part(i.imported)) in EXEMPT


def breaches(src: Path) -> list[str]:
    """What breaks the direction of imports, in words."""
    found = []
    for i in all_imports(src):
        if not is_ours(i.imported) or i.importer == "afterlaunch" or is_exempt(i):
            continue
        unplaced = [p for p in (part(i.importer), part(i.imported)) if p not in GROUP]
        if unplaced:
            found.append(f"{i}: give {unplaced[0]!r} a place in ORDER")
        elif GROUP[part(i.imported)] > GROUP[part(i.importer)]:
            found.append(f"{i}: against the order")
        else:
            only = ONLY.get(part(i.importer))
            below = i.imported.partition(".")[2]
            if only is not None and not any(below == a or below.startswith(a + ".") for a in only):
                found.append(f"{i}: only {', '.join(sorted(only))} may be imported there")
    return found


def cycles(src: Path) -> list[list[str]]:
    """Modules that import each other in a ring."""
    edges: dict[str, set[str]] = {}
    for i in all_imports(src):
        if is_ours(i.imported) and i.importer != "afterlaunch" and not is_exempt(i):
            edges.setdefault(i.importer, set()).add(i.imported)
    found, done = [], set()

    def walk(node: str, trail: list[str]) -> None:
        if node in trail:
            found.append([*trail[trail.index(node) :], node])
        elif node not in done:
            for other in sorted(edges.get(node, ())):
                walk(other, [*trail, node])
            done.add(node)

    for start in sorted(edges):
        walk(start, [])
    return found


def test_imports_follow_the_order() -> None:
    assert breaches(SRC) == []


def test_no_modules_import_each_other() -> None:
    assert cycles(SRC) == []


def test_libraries_stay_in_their_parts() -> None:
    strays = [
        str(i)
        for i in all_imports(SRC)
        if part(i.importer) not in LIBRARIES.get(i.imported.partition(".")[0], {part(i.importer)})
    ]
    assert strays == []


def test_the_core_imports_nothing_but_its_dependencies() -> None:
    project = tomllib.loads((SRC.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"[^\w-]", d)[0].replace("-", "_") for d in project["dependencies"]}
    core |= {"sklearn", "vl_convert", "afterlaunch"} | sys.stdlib_module_names
    strays = [
        str(i)
        for i in all_imports(SRC)
        if not i.lazy
        and part(i.importer) not in {"service", "integrations"}
        and i.imported.partition(".")[0] not in core
    ]
    assert strays == []


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("stats/a.py", "from afterlaunch import finding", "only stats"),
        ("stats/a.py", "from afterlaunch.decide import decide", "against the order"),
        ("decide.py", "def f():\n    from afterlaunch.roles import Roles", "against the order"),
        ("checks/a.py", "from afterlaunch.tables import open_table", "only checks"),
        ("checks/a.py", "from afterlaunch.profile import count", "only checks"),
        ("checks/a.py", "import afterlaunch.profile.count", "only checks"),
        ("report/a.py", "from afterlaunch.decide import InputError", "only finding"),
        ("finding.py", "from afterlaunch.report import write", "against the order"),
        ("questions/a.py", "import afterlaunch as al", "against the order"),
        ("questions/a.py", "from ..cli import main", "against the order"),
        ("helpers.py", "from afterlaunch import stats", "place in ORDER"),
        ("tables.py", "if TYPE_CHECKING:\n    from afterlaunch.checks import Check", "against the order"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, module: str, text: str, complaint: str) -> None:
    plant(tmp_path, {module: text})
    (found,) = breaches(tmp_path)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("checks/a.py", "from afterlaunch.profile.types import Profile"),
        ("checks/a.py", "from afterlaunch.profile import bins"),
        ("finding.py", "def save():\n    from afterlaunch.report import write"),
        ("report/a.py", "from afterlaunch import __version__"),
        ("demo/a.py", "import afterlaunch as al"),
        ("__init__.py", "def __getattr__(name):\n    from afterlaunch.cli import main"),
    ],
)
def test_a_right_import_passes(tmp_path: Path, module: str, text: str) -> None:
    plant(tmp_path, {module: text})
    assert breaches(tmp_path) == []


def test_a_ring_is_found(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"stats/a.py": "from afterlaunch.stats import b", "stats/b.py": "def f():\n    import afterlaunch.stats.a"},
    )
    assert cycles(tmp_path) == [["afterlaunch.stats.a", "afterlaunch.stats.b", "afterlaunch.stats.a"]]


def plant(src: Path, files: dict[str, str]) -> None:
    packages = ["stats", "checks", "report", "profile", "questions", "demo", "cli"]
    tree = {f"{p}/__init__.py": "" for p in packages} | {"__init__.py": "", "finding.py": "", "decide.py": ""}
    tree |= {"roles.py": "", "tables.py": "", "profile/bins.py": "", "profile/types.py": "", "profile/count.py": ""}
    for name, text in (tree | files).items():
        path = src / "afterlaunch" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
