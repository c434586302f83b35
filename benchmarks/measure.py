"""Run a command in a fresh process and say what it cost: wall time, CPU time, peak memory."""

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class StepError(Exception):
    """A command that did not do what was asked of it; the message is one sentence."""


@dataclass(frozen=True)
class Cost:
    """What one process cost.

    Attributes:
        wall: Seconds from start to exit, interpreter start and imports included.
        cpu: Seconds of processor time, user and system, over all threads.
        peak: Largest resident memory, in MB (1e6 bytes).
    """

    wall: float
    cpu: float
    peak: float


@dataclass
class Series:
    """The repeats of one command on one pair of tables."""

    name: str
    rows: int
    costs: list[Cost] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median wall time, in seconds."""
        return statistics.median(cost.wall for cost in self.costs)

    @property
    def cpu(self) -> float:
        """Median CPU time, in seconds."""
        return statistics.median(cost.cpu for cost in self.costs)

    @property
    def peak(self) -> float:
        """Largest peak of all repeats, in MB."""
        return max(cost.peak for cost in self.costs)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and largest wall time, in seconds."""
        return min(cost.wall for cost in self.costs), max(cost.wall for cost in self.costs)


def last_words(log: Path) -> str:
    """The last line of a log, and where the rest is."""
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    return f"{lines[-1][:200]} (all of it in {log})"


def run(
    command: Sequence[str],
    log: Path,
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    allowed: frozenset[int] = frozenset({0}),
) -> Cost:
    """Run `command` to its end, its output going to `log`.

    The caller must itself be small: on Linux a child's peak is never below what its parent held when it started it.

    Args:
        command: Program and arguments; no shell.
        log: File for its stdout and stderr, overwritten.
        timeout: Seconds after which it is killed.
        environment: Variables set on top of this process's own.
        allowed: Exit codes that count as success.

    Returns:
        Its cost.

    Raises:
        StepError: It could not start, took too long, or left with another exit code.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise StepError(f"{command[0]} could not start: {error.strerror}") from error
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        alarm = threading.Timer(timeout, stop)
        alarm.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            alarm.cancel()
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if late.is_set():
        raise StepError(f"killed after {timeout:.0f} s")
    if process.returncode not in allowed:
        raise StepError(f"exit code {process.returncode}: {last_words(log)}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)
