"""`afterlaunch release`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from afterlaunch.cli.options import (
    ConfigOption,
    FailOn,
    FailOnOption,
    HtmlOption,
    JsonOption,
    RoleOption,
    leave,
    settle,
)
from afterlaunch.decide import InputError
from afterlaunch.release.controller import State, said
from afterlaunch.release.plan import Plan, duration

WORDS = ("plan", "start", "tick", "status", "approve", "hold", "resume", "abort", "history", "run")


def command(
    what: Annotated[str, typer.Argument(metavar="what", help=f"One of {', '.join(WORDS)}.")],
    plan: Annotated[str, typer.Option("--plan", help="TOML file with the table [release].")] = "afterlaunch.toml",
    store: Annotated[
        str, typer.Option("--store", help="SQLite file, or a URL of SQLAlchemy, with the history.")
    ] = "afterlaunch.db",
    log: Annotated[str | None, typer.Option("--log", help="Log of both versions; to plan: recent traffic.")] = None,
    panel: Annotated[
        str | None, typer.Option("--panel", help="What both versions put out for the same rows, for stability.")
    ] = None,
    replicates: Annotated[
        str | None, typer.Option("--replicates", help="Column of the panel that tells repetitions apart.")
    ] = None,
    instance: Annotated[str | None, typer.Option("--instance", help="Column with the machine of each row.")] = None,
    release: Annotated[str | None, typer.Option("--release", help="To start: name of the release, its salt.")] = None,
    champion: Annotated[str | None, typer.Option("--champion", help="To start: version that everybody has.")] = None,
    challenger: Annotated[str | None, typer.Option("--challenger", help="To start: version to be released.")] = None,
    override: Annotated[
        str | None, typer.Option("--override", help="To start: who allows a version that was rolled back.")
    ] = None,
    who: Annotated[str | None, typer.Option("--who", help="To approve, hold or abort: who decides.")] = None,
    why: Annotated[str, typer.Option("--why", help="To hold or abort: why.")] = "",
    weights: Annotated[Path | None, typer.Option("--weights", help="JSON file that shares are written to.")] = None,
    post: Annotated[str | None, typer.Option("--post", help="URL that every action is posted to.")] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", help="Registered model whose alias 'champion' is set on completion.")
    ] = None,
    now: Annotated[str | None, typer.Option("--now", help="The time, to replay a log; else that of the clock.")] = None,
    every: Annotated[str, typer.Option("--every", help="To run: how often to tick.")] = "1h",
    role: RoleOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """May the retrained model take more traffic? Only while it holds on every dimension."""
    known, roles, _ = settle(config, role, None, (json, html), log=log)
    if what not in WORDS:
        raise InputError(f"There is no {what!r} of a release; write one of {', '.join(WORDS)}.")
    planned = Plan.load(plan)
    if what == "plan":
        from afterlaunch.release.power import plan_power

        if known.log is None:
            raise InputError("No traffic was given; add --log PATH, or set log in afterlaunch.toml.")
        leave(plan_power(planned, known.log, roles=roles), json, html, fail_on)
        return
    from afterlaunch.release.history import History
    from afterlaunch.release.runner import Releases, shown

    releases = Releases(planned, History(store), _acts(weights, post, mlflow))
    at = _moment(now)
    if what == "history":
        for row in shown(releases.steps()):
            typer.echo(f"{row['at']}  {row['release']}  {row['phase']} (stage {row['stage']})  {row['reason']}")
        return
    if what == "start":
        state: State | None = releases.start(
            release=_need(release, "--release"),
            champion=_need(champion, "--champion"),
            challenger=_need(challenger, "--challenger"),
            now=at,
            override=override,
        )
    elif what == "approve":
        state = releases.approve(who=_need(who, "--who"), now=at)
    elif what == "hold":
        state = releases.hold(who=_need(who, "--who"), why=why, now=at)
    elif what == "resume":
        state = releases.resume(who=_need(who, "--who"), now=at)
    elif what == "abort":
        state = releases.abort(who=_need(who, "--who"), why=why, now=at)
    elif what == "status":
        state = releases.status()
    else:
        length = duration(every).total_seconds()
        while True:
            state = _tick(releases, known.log, roles, at, panel, replicates, instance)
            if what == "tick" or state.over:
                break
            _say(planned, state)
            time.sleep(length)
            at = _moment(now)
    if state is None:
        typer.echo(f"No release of {planned.model!r} was begun.")
        return
    _say(planned, state)
    if at is not None and at < state.seen:
        typer.echo(f"  The time is before the last step, at {state.seen:%Y-%m-%d %H:%M}; nothing was done.")
    if not releases.acts and any(s.model == planned.model for s in releases.history.pending()):
        typer.echo("  Nothing sets shares yet: give --weights, --post or --mlflow, and they will be set.")
    if what in ("tick", "run", "status"):
        if state.phase == "rolled_back":
            raise typer.Exit(1)
        if state.phase in ("holding", "needs_person") and fail_on is FailOn.UNDECIDED:
            raise typer.Exit(3)


def _tick(
    releases: Any,
    log: str | None,
    roles: Any,
    at: datetime | None,
    panel: str | None,
    replicates: str | None,
    instance: Any,
) -> State:
    from afterlaunch.release.gates import read_gates

    moment = at or datetime.now(UTC)
    state = releases.status()
    evidence = None
    if state is not None and not state.over and log is not None:
        evidence = read_gates(
            releases.plan,
            state,
            log,
            now=moment,
            roles=roles,
            instance=instance,
            panel=panel,
            replicates=replicates,
        ).evidence
    found: State = releases.tick(evidence, now=moment)
    return found


def _say(plan: Plan, state: State) -> None:
    stage = plan.stages[state.stage].name
    typer.echo(f"{state.release}: {state.challenger} against {state.champion}, {said(state.phase)} at {stage}")
    if state.reason:
        typer.echo(f"  {state.reason}")


def _acts(weights: Path | None, post: str | None, mlflow: str | None) -> list[Any]:
    from afterlaunch.release.actions import MlflowAlias, Post, WeightsFile

    out: list[Any] = []
    if weights is not None:
        out.append(WeightsFile(weights))
    if post is not None:
        out.append(Post(post))
    if mlflow is not None:
        out.append(MlflowAlias(mlflow))
    return out


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"The time {text!r} is none; give one such as 2026-11-28T12:00.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _need(value: str | None, flag: str) -> str:
    if not value:
        raise InputError(f"{flag} is missing; add it.")
    return value
