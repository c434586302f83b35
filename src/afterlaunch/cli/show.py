"""`afterlaunch show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afterlaunch.cli.options import FailOn, FailOnOption, HtmlOption, leave
from afterlaunch.decide import InputError
from afterlaunch.finding import Review


def command(
    path: Annotated[Path, typer.Argument(metavar="REVIEW.json", help="A review saved before.")],
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Show a saved review again, without the data."""
    try:
        review = Review.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The review {str(path)!r} cannot be read: {error.strerror}; check the path.") from None
    except UnicodeDecodeError:
        raise InputError(
            f"The file {str(path)!r} is no saved review: it is not text; give one saved as .json."
        ) from None
    except ValueError as error:
        raise InputError(f"The file {str(path)!r} is no saved review: {error}") from None
    leave(review, None, html, fail_on)
