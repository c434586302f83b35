"""What a release does to the world: weights in a file, a call to another service, an alias in a model registry."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afterlaunch.decide import InputError
from afterlaunch.release.controller import Action, State

Act = Callable[[Action, State], None]
"""Carries out an action. It may be called again with the same action, after a crash, and must not do harm then."""


@dataclass(frozen=True)
class WeightsFile:
    """Writes who gets how much to a JSON file, whole or not at all, for a router that polls it.

    Attributes:
        path: The file.
    """

    path: Path

    def __call__(self, action: Action, state: State) -> None:
        """Write the file when shares change.

        Raises:
            InputError: When it cannot be written.
        """
        if action.kind not in ("set_share", "promote"):
            return
        share = 1.0 if action.kind == "promote" else float(action.share or 0.0)
        data = {
            "model": state.model,
            "release": state.release,
            "champion": state.challenger if action.kind == "promote" else state.champion,
            "challenger": None if action.kind == "promote" else state.challenger,
            "share": 0.0 if action.kind == "promote" else share,
        }
        path = Path(self.path)
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise InputError(f"The weights {str(path)!r} cannot be written: {error.strerror}.") from None


@dataclass(frozen=True)
class Post:
    """Posts every action as JSON to a URL; a service there sets weights, or tells people.

    Attributes:
        url: Where to.
        timeout: Seconds to wait.
    """

    url: str
    timeout: float = 10.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"The URL {self.url!r} is none of http or https.")

    def __call__(self, action: Action, state: State) -> None:
        """Post it.

        Raises:
            InputError: When nobody takes it; it is tried again at the next tick.
        """
        body = json.dumps({"action": action.to_dict(), "state": state.to_dict()}).encode()
        request = urllib.request.Request(
            self.url, data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout):
                return
        except (urllib.error.URLError, OSError) as error:
            raise InputError(f"{self.url!r} did not take {action.kind!r}: {error}.") from None


@dataclass(frozen=True)
class MlflowAlias:
    """Points an alias of a registered model to the version that was released (extra `mlflow`).

    Versions of the release are then versions of the registered model, such as "3".

    Attributes:
        model: Name of the registered model.
        alias: The alias, "champion" by default.
        uri: Address of the tracking server; what MLflow is set to when None.
    """

    model: str
    alias: str = "champion"
    uri: str | None = None

    def __call__(self, action: Action, state: State) -> None:
        """Set the alias on completion.

        Raises:
            InputError: Without MLflow, or when the registry does not know the version.
        """
        if action.kind != "promote":
            return
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError:
            raise InputError("MLflow is not installed; install it with: pip install 'afterlaunch[mlflow]'.") from None
        try:
            MlflowClient(self.uri).set_registered_model_alias(self.model, self.alias, action.version)
        except MlflowException as error:
            raise InputError(
                f"MLflow did not set the alias of {self.model!r} to {action.version!r}: {error}."
            ) from None


def argo_verdict(state: State) -> dict[str, Any]:
    """A state in the form that a web metric of Argo Rollouts reads.

    Args:
        state: Where the release stands.

    Returns:
        ``value`` is "ok", "alarm" or "undecided": give ``successCondition: result == "ok"`` and ``failureCondition:
        result == "alarm"`` with ``jsonPath: "{$.value}"``; anything else is inconclusive.

    Source:
        Argo Rollouts, "Web Metrics".
    """
    value = {"completed": "ok", "rolled_back": "alarm", "ramping": "ok"}.get(state.phase, "undecided")
    return {"value": value, "phase": state.phase, "stage": state.stage, "reason": state.reason}


def flagger_status(state: State) -> int:
    """A state as the HTTP status that a webhook of Flagger reads: 200 lets a canary go on, anything else does not.

    Source:
        Flagger, "Webhooks": a response other than 2xx fails the check.
    """
    return {"completed": 200, "ramping": 200, "rolled_back": 500}.get(state.phase, 409)
