"""The command line: the same questions as the Python package, one file a command."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import Annotated, Any

import typer

from afterlaunch import InputError, __version__
from afterlaunch.cli.commands import Commands

app = typer.Typer(
    name="afterlaunch",
    cls=Commands,
    help="Watch a machine-learning model from launch to every weekly retrain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afterlaunch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; never shows a traceback.

    Exit codes: 0 unless `--fail-on` is met, 1 alarm, 3 undecided, 2 unusable input or usage,
    70 internal failure (one sentence and the path of a debug log).
    """
    _use_utf8()
    try:
        raise SystemExit(app(prog_name="afterlaunch", standalone_mode=False) or 0)
    except InputError as error:
        print(f"afterlaunch: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        print("afterlaunch: stopped.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of our output is gone; nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
            raise SystemExit(2) from None
        if hasattr(error, "format_message"):
            print(f"afterlaunch: {_usage(error)}", file=sys.stderr)
            raise SystemExit(2) from None
        with tempfile.NamedTemporaryFile(
            "w", suffix=".log", prefix="afterlaunch-", delete=False, encoding="utf-8"
        ) as log:
            log.write(f"afterlaunch {__version__}\n{sys.argv!r}\n")
            traceback.print_exc(file=log)
        print(f"afterlaunch: internal failure; please report it with the debug log {log.name}.", file=sys.stderr)
        raise SystemExit(70) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _usage(error: Any) -> str:
    """What the parser of the command line has to say, in one sentence."""
    what, context = " ".join(error.format_message().split()).rstrip("."), getattr(error, "ctx", None)
    where = context.command_path if context is not None else "afterlaunch"
    return what if what.endswith("?") else f"{what}; see '{where} --help'."


def _use_utf8() -> None:
    """Names that the terminal cannot show are shown escaped instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
