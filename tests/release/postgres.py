"""A PostgreSQL server of our own, for as long as the tests last."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def programs() -> Path | None:
    """The folder of the newest server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def other_than_root() -> dict[str, Any]:
    """How to start the server, which refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    chosen = names.get("postgres") or names["nobody"]
    return {"user": chosen.pw_uid, "group": chosen.pw_gid, "extra_groups": []}


@contextmanager
def server(binaries: Path) -> Iterator[str]:
    """Run an empty server that listens on a socket only.

    Yields:
        URL of its database, for SQLAlchemy.
    """
    # Not pytest's folder: the path of a socket is short, and the server's user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    who = other_than_root()
    if who:
        os.chown(folder, who["user"], who["group"])
    data = folder / "data"
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"

    def call(program: str, *arguments: str) -> None:
        # The server keeps what it is given as output open, so that a pipe would never end.
        with (folder / f"{program}.txt").open("w") as said:
            subprocess.run(
                [binaries / program, *arguments], check=True, cwd=folder, stdout=said, stderr=said, timeout=120, **who
            )

    try:
        call("initdb", "-D", str(data), "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        call("pg_ctl", "start", "-w", "-D", str(data), "-l", str(folder / "log.txt"), "-o", options)
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            call("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder)
