"""Docstrings as an editor shows them: each class describes every argument itself, not in a base class."""

import builtins
import importlib
import inspect
import re
from pathlib import Path

import pytest

from lyftdata.client import RequestsWorkerAuth, TokenKeeper, TokenOptions, WorkerAuth
from lyftdata.client.aiohttp_auth import AiohttpWorkerAuth
from lyftdata.client.httpx_auth import HttpxWorkerAuth
from lyftdata.testing import FakeServer
from lyftdata.verify import AsyncWorkerVerifier, WorkerVerifier, asgi, fastapi, grpc, wsgi
from lyftdata.verify._verifier import Verifier

CLASSES = [
    WorkerVerifier,
    AsyncWorkerVerifier,
    asgi.WorkerAuthMiddleware,
    wsgi.WorkerAuthMiddleware,
    fastapi.RequireWorker,
    grpc.WorkerAuthInterceptor,
    grpc.AsyncWorkerAuthInterceptor,
    WorkerAuth,
    RequestsWorkerAuth,
    HttpxWorkerAuth,
    AiohttpWorkerAuth,
    FakeServer,
]


def documented(kind: type) -> dict[str, str]:
    """Return the arguments that a class's own docstring describes, with the text of each."""
    text = inspect.cleandoc(vars(kind)["__doc__"])
    (section,) = re.findall(r"^(?:Args|Attributes):\n(.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", section + "\n", re.DOTALL | re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_class_describes_each_of_its_arguments(kind):
    """In its own docstring, in the order of its signature."""
    assert list(documented(kind)) == list(inspect.signature(kind).parameters)


@pytest.mark.parametrize("kind", [WorkerVerifier, AsyncWorkerVerifier])
def test_both_verifiers_describe_their_arguments_alike(kind):
    """The text is repeated, so it must not drift."""
    assert documented(kind) == documented(Verifier)


def test_the_token_options_are_described_in_the_class_that_uses_them():
    """With the same text as in the type of the options."""
    assert documented(TokenKeeper) == documented(TokenOptions)
    assert list(documented(TokenOptions)) == list(TokenOptions.__annotations__)


def test_every_documented_error_can_be_imported_from_its_package():
    """So that `except` needs no private module."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### `(lyftdata\.\w+)[\w.]*`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    raised = {
        (package, name)
        for package, text in sections
        for name in re.findall(r"^ +(\w+Error): ", text, re.MULTILINE)
    }

    assert ("lyftdata.verify", "InvalidInputError") in raised
    hidden = [
        (package, name)
        for package, name in sorted(raised)
        if not hasattr(builtins, name) and name not in importlib.import_module(package).__all__
    ]
    assert hidden == []
