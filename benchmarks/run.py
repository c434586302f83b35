"""Hold afterlaunch's drift review against its peers, a bare scan, and the numbers we promise.

One command, `make bench`; see README.md beside this file for what each process does and how to read the table.
Only the standard library is imported here: see `measure.run` for why this process must stay small.
"""

import argparse
import hashlib
import json
import os
import platform
import shlex
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import environments
from measure import Cost, Series, StepError, last_words, run
from targets import Target, costs_table, targets, targets_table

HERE = Path(__file__).resolve().parent
PEERS = ("evidently", "nannyml", "frouros")
SCRIPTS = {
    "evidently": "evidently_drift.py",
    "nannyml": "nannyml_drift.py",
    "frouros": "frouros_drift.py",
    "scan": "duckdb_scan.py",
}
# Runs of the slow ones: name of the series, peer, further arguments, how often.
SLOW = (
    ("evidently", "evidently", (), 1),
    ("nannyml", "nannyml", ("all",), 2),
    ("nannyml-shared", "nannyml", ("shared",), 1),
    ("frouros", "frouros", (), 2),
)
PARTS = (*PEERS, "scan", "unit", "large", "import", "install")
COLUMNS = 30
CORES = 2
QUIET = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1", "PYTHONDONTWRITEBYTECODE": ""}
# afterlaunch leaves with 1 or 3 when it did its work and has something to say.
REVIEWED = frozenset({0, 1, 3})


def say(text: str) -> None:
    """Progress, to stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Tables:
    """A reference and a production file."""

    rows: int
    reference: Path
    production: Path


@dataclass
class Bench:
    """One run of the benchmark: its settings, what it measured so far, and what failed."""

    cache: Path
    ours: list[str]
    timeout: float
    pythons: dict[str, Path]
    measured: dict[str, Series] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def tables(self, rows: int, unit: bool = False) -> Tables:
        """The two files of that size, written first if this version of data.py has not yet put them in the cache."""
        version = hashlib.sha256((HERE / "data.py").read_bytes()).hexdigest()[:8]
        paths = []
        for table in ("reference", "production"):
            path = self.cache / "data" / version / f"{table}-{rows}{'-unit' if unit else ''}.parquet"
            if not path.exists():
                say(f"writing {path.name}")
                command = [sys.executable, str(HERE / "data.py"), table, str(rows), str(path)]
                run([*command, "--unit"] if unit else command, self.cache / "logs" / "data.log", timeout=self.timeout)
            paths.append(path)
        return Tables(rows, *paths)

    def step(self, name: str, command: list[str], tables: Tables, result: Path, *, count: bool = True) -> None:
        """Run one process once, look whether it covered every column, and note its cost (or its failure)."""
        if name in self.failed:
            return
        result.unlink(missing_ok=True)
        allowed = REVIEWED if name.startswith("ours") else frozenset({0})
        try:
            log = self.cache / "logs" / f"{name}.log"
            cost = run(command, log, timeout=self.timeout, environment=QUIET, allowed=allowed)
            if not result.exists():
                raise StepError(f"it wrote no result: {last_words(log)}")
            covered = columns_in(result)
            if covered < COLUMNS:
                raise StepError(f"its result covers {covered} of {COLUMNS} columns")
        except StepError as failure:
            self.failed[name] = str(failure)
            self.measured.pop(name, None)
            say(f"{name} FAILED: {failure}")
            return
        note = "" if count else " (warm-up, not counted)"
        say(f"{name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s, peak {cost.peak:.0f} MB{note}")
        if count:
            self.measured.setdefault(name, Series(name, tables.rows)).costs.append(cost)

    def review(self, name: str, tables: Tables, *extra: str, count: bool = True) -> None:
        """Our drift review, once."""
        result = self.cache / "results" / f"{name}.json"
        paths = ["--reference", str(tables.reference), "--production", str(tables.production), "--json", str(result)]
        self.step(name, [*self.ours, *paths, *extra], tables, result, count=count)

    def peer(self, name: str, peer: str, tables: Tables, *extra: str, count: bool = True) -> None:
        """One peer (or the scan) once, if its environment is there."""
        if peer not in self.pythons:
            return
        result = self.cache / "results" / f"{name}.json"
        paths = [str(tables.reference), str(tables.production), str(result)]
        script = str(HERE / "peers" / SCRIPTS[peer])
        self.step(name, [str(self.pythons[peer]), script, *paths, *extra], tables, result, count=count)

    def environment(self, name: str, venvs: Path) -> None:
        """Make sure of a peer's interpreter."""
        if name in self.pythons:
            return
        say(f"environment of {name}")
        try:
            self.pythons[name] = environments.peer(name, venvs, self.cache / "logs")
        except StepError as failure:
            self.failed[name] = f"its environment: {failure}"
            say(f"{name} FAILED: {failure}")

    def import_time(self, repeats: int = 7) -> float | None:
        """Seconds of `import afterlaunch` in a fresh process, less a bare interpreter: medians, alternating."""
        times: dict[str, list[Cost]] = {"pass": [], "import afterlaunch": []}
        try:
            for repeat in range(repeats + 1):
                for code, costs in times.items():
                    log = self.cache / "logs" / "import.log"
                    cost = run([sys.executable, "-c", code], log, timeout=self.timeout)
                    if repeat:  # the first fills the caches
                        costs.append(cost)
        except StepError as failure:
            self.failed["import"] = str(failure)
            say(f"import FAILED: {failure}")
            return None
        bare, whole = (statistics.median(cost.wall for cost in costs) for costs in times.values())
        say(f"import afterlaunch: {whole - bare:.3f} s on top of {bare:.3f} s")
        return whole - bare

    def core_install(self, what: list[str], venvs: Path) -> environments.Installed | None:
        """What our core install brings."""
        say("installing the core in a fresh environment")
        try:
            core = environments.installed_by(what, venvs / "core", self.cache / "logs")
        except StepError as failure:
            self.failed["install"] = str(failure)
            say(f"install FAILED: {failure}")
            return None
        say(f"core install: {core.distributions} distributions, {core.megabytes:.0f} MB")
        return core


def columns_in(result: Path) -> int:
    """How many columns a result covers: `columns` in a peer's, distinct subjects of drift findings in ours."""
    try:
        content = json.loads(result.read_text())
        if "columns" in content:
            return len(content["columns"])
        return len({finding["subject"] for finding in content["findings"] if finding["check"] == "drift"})
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StepError(f"its result could not be read: {error!r}") from error


def pin(cores: int) -> None:
    """Keep this process and all it starts on as many cores, so that everyone has the same."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 rows for 1,000,000: to try it, not to judge by")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="runs of ours and of the scan (5)")
    parser.add_argument("--skip", action="append", default=[], choices=PARTS, help="leave a part out; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache", metavar="DIR", help="data, results and logs")
    parser.add_argument("--venvs", type=Path, metavar="DIR", help="environments of the peers (CACHE/venvs)")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="interpreter for a peer")
    parser.add_argument("--ours", metavar="CMD", help="command in place of `python -m afterlaunch drift`")
    parser.add_argument("--core", metavar="SPEC", default=str(HERE.parent), help="what pip installs as our core")
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="S", help="longest run of one process (1800)")
    given = parser.parse_args()
    for pair in given.python:
        name, _, path = pair.partition("=")
        if name not in (*PEERS, "scan") or not path:
            parser.error(f"--python {pair}: expected one of {', '.join((*PEERS, 'scan'))}, then = and a path")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    return given


def measure_all(bench: Bench, given: argparse.Namespace) -> list[Target]:
    """Every part that was not left out, in order, and the targets."""
    venvs: Path = given.venvs or given.cache / "venvs"
    wanted = [part for part in PARTS if part not in given.skip]
    rows = 100_000 if given.quick else 1_000_000
    base = bench.tables(rows)
    for name in (*PEERS, "scan"):
        if name in wanted:
            bench.environment(name, venvs)
    with_unit = bench.tables(rows, unit=True) if "unit" in wanted else None

    for repeat in range(-1, given.repeats):  # the first round warms the page cache and is not counted
        count = repeat >= 0
        bench.review("ours", base, count=count)
        if "scan" in wanted:
            bench.peer("scan", "scan", base, str(CORES), count=count)
        if with_unit:
            bench.review("ours-unit", with_unit, "--role", "unit=unit", count=count)
        for name, peer, extra, runs in SLOW:
            if peer in wanted and 0 <= repeat < runs:
                bench.peer(name, peer, base, *extra)

    if "large" in wanted:
        large = bench.tables(10 * rows)
        for repeat in range(-1, min(3, given.repeats)):
            if "scan" in wanted:
                bench.peer("scan-large", "scan", large, str(CORES), count=repeat >= 0)
            if repeat >= 0:
                bench.review("ours-large", large)

    import_time = bench.import_time() if "import" in wanted else None
    core = bench.core_install([given.core], venvs) if "install" in wanted else None
    return targets(bench.measured, import_time, core, full=not given.quick)


def main() -> int:
    """Measure, print the tables; 0 unless something failed to run, whatever the targets say."""
    given = arguments()
    pin(CORES)
    given.cache = given.cache.resolve()
    for folder in ("results", "logs"):
        (given.cache / folder).mkdir(parents=True, exist_ok=True)
    bench = Bench(
        cache=given.cache,
        ours=shlex.split(given.ours) if given.ours else [sys.executable, "-m", "afterlaunch", "drift"],
        timeout=given.timeout,
        pythons={name: Path(path) for name, _, path in (pair.partition("=") for pair in given.python)},
    )
    load = os.getloadavg()[0]
    try:
        lines = measure_all(bench, given)
    except StepError as failure:
        print(f"the benchmark could not start: {failure}", file=sys.stderr)
        return 1

    print(costs_table(bench.measured.values()), end="\n\n")
    print(targets_table(lines), end="\n\n")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f} at the start.")
    for name, reason in bench.failed.items():
        print(f"{name} failed: {reason}")
    if given.json:
        content = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": cores,
            "load_at_start": load,
            "quick": given.quick,
            "costs": [asdict(series) for series in bench.measured.values()],
            "targets": [{**asdict(line), "holds": line.holds} for line in lines],
            "failed": bench.failed,
        }
        given.json.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
