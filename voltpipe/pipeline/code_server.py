"""Restart of the code server behind Dagster's pages and daemon.

Dagster restarts its other processes, but waits for a click on "Reload" here; until then no sensor ticks and no run
starts.
"""

import json
import urllib.request
from typing import Any

_ANSWER_S = 10.0
_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on PythonError { className } } } } } }"""
_UNREACHABLE = "DagsterUserCodeUnreachableError"


def revive(address: str) -> bool:
    """Reload the code locations whose server is gone, as Dagster's button does; return whether there was one.

    A location whose code cannot be loaded is left alone: a person has to read and correct that.
    """
    try:
        entries = _ask(address, _LOCATIONS)["workspaceOrError"]["locationEntries"]
        gone = [each["name"] for each in entries if _is_unreachable(each["locationOrLoadError"])]
        for name in gone:
            reload = f"reloadRepositoryLocation(repositoryLocationName: {json.dumps(name)})"
            _ask(address, f"mutation {{ {reload} {{ __typename }} }}")
    except (OSError, ValueError, KeyError):  # the webserver is down or busy, and is asked again later
        return False
    return bool(gone)


def _is_unreachable(answer: dict[str, str] | None) -> bool:
    return answer is not None and answer.get("className") == _UNREACHABLE


def _ask(address: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}/graphql", json.dumps({"query": query}).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
        found: dict[str, Any] = json.loads(answer.read())["data"]
    return found
