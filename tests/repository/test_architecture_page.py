"""The architecture page names functions, folders and files that exist."""

import asyncio
import importlib
import re
import sys
from pathlib import Path

import pytest

import lyftdata
from lyftdata.core.identity_keys import generate_identity_key
from lyftdata.server.runtime import background
from lyftdata.store.writer import batch

PAGES = Path(__file__).parents[2] / "docs"
PAGE = PAGES.joinpath("explanation", "architecture.md").read_text(encoding="utf-8")
PACKAGE = Path(lyftdata.__file__).parent
WALKS = PAGE.partition("## Three walks")[2]
NAME = re.compile(r"`((?:client|core|server|store|worker)(?:\.\w+)+)`")
NAMES = NAME.findall(WALKS)


def find(name):
    """Return the object with a dotted name below the package; raises AttributeError."""
    parts = name.split(".")
    found, rest = importlib.import_module("lyftdata"), parts
    while rest and (
        PACKAGE.joinpath(*parts[: len(parts) - len(rest) + 1]).is_dir() or is_module(parts, rest)
    ):
        found = importlib.import_module(".".join(["lyftdata", *parts[: len(parts) - len(rest) + 1]]))
        rest = rest[1:]
    for part in rest:
        found = getattr(found, part)
    return found


def is_module(parts, rest):
    """Return whether the next part of a name is a module."""
    return PACKAGE.joinpath(*parts[: len(parts) - len(rest) + 1]).with_suffix(".py").is_file()


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_each_function_of_a_walk_exists(name):
    """Every name in a walk on the page is a callable."""
    assert callable(find(name))


def test_the_walks_are_found():
    """A change of the page's format does not leave the test above without names."""
    assert len(set(NAMES)) > 30
    assert WALKS.count("\n### ") == 3


def test_each_folder_of_the_server_and_the_store_is_on_the_map():
    """The page has a phrase for every package of the Server and of the store."""
    folders = [
        folder.relative_to(PACKAGE).as_posix()
        for room in ("server", "store")
        for folder in sorted((PACKAGE / room).iterdir())
        if (folder / "__init__.py").exists()
    ]

    assert [folder for folder in folders if f"`{folder}/`" not in PAGE] == []


# --- the number of files in a walk -------------------------------------------------------------------------

STEPS = re.compile(r"^The steps are in (\d+) files\.", re.MULTILINE)
IN_ALL = re.compile(r"at most (\d+) files")
SECTIONS = WALKS.split("\n### ")[1:]


def file_of(name):
    """Return the file, relative to the package, that defines the object with a dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:length]).with_suffix(".py")
        if path.is_file():
            return path.relative_to(PACKAGE).as_posix()
    raise AssertionError(name)


def files_named(section):
    """Return the files that a walk names."""
    return {file_of(name) for name in NAME.findall(section)}


async def _never(*_):
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _no_periodic_tasks(monkeypatch):
    """Leave out what the Server does every second or so: on a slow machine some of it would run during a walk."""
    monkeypatch.setattr(background, "_every", _never)


class Trace:
    """Records the package's files whose functions are called, in the event loop and in the store's writer."""

    def __init__(self, monkeypatch):
        self.files = set()
        run = batch.run

        def watched(*args, **kwargs):
            sys.setprofile(self._note)
            try:
                return run(*args, **kwargs)
            finally:
                sys.setprofile(None)

        monkeypatch.setattr(batch, "run", watched)

    def _note(self, frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{PACKAGE}/"):
            self.files.add(path.removeprefix(f"{PACKAGE}/"))

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_each_walk_states_how_many_files_its_steps_are_in(section):
    """The number of files that the page states for a walk is the number of files that its steps name."""
    (stated,) = STEPS.findall(section)
    assert int(stated) == len(files_named(section))


async def test_a_token_request_runs_the_files_that_the_page_names(server, monkeypatch):
    """Each step of the walk is in a file that runs, and no more files run in total than the page states."""
    worker_id, key = await server.enrolled()
    assertion = server.assertion(key, worker_id)

    with Trace(monkeypatch) as trace:
        answer = await server.token_by_assertion(assertion)

    assert answer.status_code == 200
    assert files_named(SECTIONS[0].partition("A refusal goes")[0]) <= trace.files
    assert len(trace.files) <= int(IN_ALL.findall(SECTIONS[0])[0])


async def test_an_enrollment_runs_the_files_that_the_page_names(server, monkeypatch):
    """Each step at the Server is in a file that runs, and no more files run in total than the page states."""
    key = generate_identity_key()

    with Trace(monkeypatch) as trace:
        answer = await server.register(key, "scaler")

    assert answer.status_code == 201
    named = {file for file in files_named(SECTIONS[1]) if file.startswith(("server/", "store/"))}
    assert named <= trace.files
    assert len(trace.files) <= int(IN_ALL.findall(SECTIONS[1])[0])


async def test_disabling_a_worker_runs_the_files_that_the_page_names(server, admin, press, monkeypatch):
    """Each step from the operator's request to the end of the held poll is in a file that runs, and no more files run than stated."""
    token = (await server.token_by_key(*press)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    body = {"boot_id": "boot-0001"}
    assert (await server.http.post("/api/worker/session", json=body, headers=headers)).status_code == 200
    held = asyncio.ensure_future(server.http.post("/api/worker/session", json=body, headers=headers))
    session = server.services.sessions.find(press[0])
    async with asyncio.timeout(180):
        while session.poll is None:
            await asyncio.sleep(0)

    with Trace(monkeypatch) as trace:
        answer = await server.http.patch(f"/api/workers/{press[0]}", json={"enabled": False}, headers=admin)
        stopped = await held

    assert answer.status_code == 200
    assert [one["kind"] for one in stopped.json()["directives"]] == ["stop"]
    named = {file for file in files_named(SECTIONS[2]) if file.startswith(("server/", "store/"))}
    # Only several Servers on one PostgreSQL write a change log for each other.
    assert named - {"store/change_feed/change_log.py", "store/dialects/postgresql.py"} <= trace.files
    assert len(trace.files) <= int(IN_ALL.findall(SECTIONS[2])[0])


def test_each_file_on_the_page_where_things_live_exists():
    """Every path on the page is a file of the package."""
    page = PAGES.joinpath("contributing", "where-things-live.md").read_text(encoding="utf-8")
    files = re.findall(r"`([\w/]+\.py)`", page)

    assert len(files) > 50
    assert [file for file in files if not PACKAGE.joinpath(file).is_file()] == []
