"""`lyftdata workers add` with a range: adds many Workers at once, and writes an environment file for each."""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from lyftdata.cli.output import echo, echo_err, print_json
from lyftdata.cli.worker_tables import ca_line
from lyftdata.core.env_files import check_url, env_file, env_file_name
from lyftdata.core.errors import LyftdataError
from lyftdata.core.secret import Secret
from lyftdata.core.text import clean_text, count
from lyftdata.private_files import PrivateDirectory


def add_many(
    names: str,
    *,
    ids: str | None,
    labels: Mapping[str, str],
    issue_key: bool,
    shared_key: bool,
    existing_key: str | None,
    output: Path | None,
    url: str | None,
    as_json: bool,
) -> None:
    """
    Add the Workers of a pattern, all of them or none.

    Without `output`, new keys are printed on standard output: only the shared one, or `ID KEY` for each Worker.
    """
    from lyftdata.cli.api import Api

    if issue_key and shared_key:
        raise click.UsageError(
            "--issue-key issues a key for each Worker, --shared-key one for all of them: give one of these options."
        )
    if output is not None and not (issue_key or shared_key):
        raise click.UsageError("--output is for the keys of --issue-key or --shared-key.")
    body = {
        "names": names,
        "ids": ids,
        "labels": dict(labels),
        "issue_key": "each" if issue_key else "shared" if shared_key else None,
        "api_key": existing_key,
    }
    with Api(url) as api, _env_directory(output, url=api.url) as directory:
        answer = api.post("/workers/batch", body)
        if directory is not None:
            write_files(directory, answer, api.url)
        if as_json:
            keys = [{**issued, "key": None if directory else issued["key"]} for issued in answer["api_keys"]]
            print_json({**answer, "api_keys": keys})
            return
        show_added(answer, existing_key, directory, api.url, tls_ca=api.tls_ca)


@contextlib.contextmanager
def _env_directory(path: Path | None, *, url: str) -> Iterator[Path | None]:
    """
    Create the directory of the files before the keys are issued: if it cannot be written, no key is lost.

    Raises:
        click.FileError: It already exists, or cannot be created.
        InvalidInputError: No environment file can hold the Server's URL.
    """
    if path is None:
        yield None
        return
    check_url(url)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError as error:
        problem = "it exists, and no key is overwritten. Give another directory, or move this one away first."
        raise click.FileError(str(path), problem) from error
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error
    try:
        yield path
    except BaseException:
        # Fails if it contains a file, which is then the only copy of a key.
        with contextlib.suppress(OSError):
            path.rmdir()
        raise


def write_files(directory: Path, answer: Mapping[str, Any], url: str) -> None:
    """
    Write the environment file of each new Worker.

    Raises:
        LyftdataError: A file cannot be written, or already exists; the message says how many were written.
    """
    keys = keys_by_worker(answer)
    private = PrivateDirectory(directory, named_by="--output", child="keys")
    written = 0
    try:
        for worker in answer["workers"]:
            issued = keys[worker["id"]]
            content = env_file(url=url, worker_id=worker["id"], api_key=Secret(issued["key"]))
            if not private.create(env_file_name(worker["name"], worker["id"]), content.encode()):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            written += 1
    except OSError as error:
        raise LyftdataError(
            f"{directory}: {error.strerror}. All Workers were added; files written: {written} of {len(answer['workers'])}.",
            hint="Make new keys for the others: lyftdata api-key rotate NAME. Their names: lyftdata api-key list",
        ) from error


def keys_by_worker(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new key of each Worker by its ID."""
    return {worker_id: issued for issued in answer["api_keys"] for worker_id in issued["worker_ids"]}


def show_added(
    answer: Mapping[str, Any],
    existing_key: str | None,
    directory: Path | None,
    url: str,
    *,
    tls_ca: Path | None = None,
) -> None:
    """Print what to do on the hosts of new Workers, and their keys; see `print_next_steps`."""
    added, trust = answer["workers"], ca_line(tls_ca)
    first, last = (clean_text(worker["name"]) for worker in (added[0], added[-1]))
    echo_err(f"{count(len(added), 'Worker')} added: {first} to {last}")
    if directory is not None:
        echo_err(f"An environment file for each is in {directory} (0600). The keys are not shown.")
        example = directory / env_file_name(added[0]["name"], added[0]["id"])
        echo_err("Copy each to its host, and there:")
        if trust:
            echo_err(trust)
        echo_err(f"  set -a; . ./{example.name}; set +a; lyftdata run worker")
        return
    if existing_key is not None:
        echo_err(f"They may use the API key {existing_key}, which is not shown again.")
    elif not answer["api_keys"]:
        echo_err(
            "Next, issue a key for them:  lyftdata api-key issue NAME --worker ID …   (or re-use one you have)"
        )
    echo_err("Then, on the host of each, with its key in a file (0600):")
    echo_err(f"  export LYFTDATA_URL={url} LYFTDATA_WORKER_ID=… LYFTDATA_WORKER_API_KEY_FILE=…")
    if trust:
        echo_err(trust)
    echo_err("  lyftdata run worker")
    _print_keys(answer)


def _print_keys(answer: Mapping[str, Any]) -> None:
    keys = answer["api_keys"]
    if not keys:
        for worker in answer["workers"]:
            echo(worker["id"])
    elif len(keys) == 1 and len(answer["workers"]) > 1:
        echo_err("It is shown once, and is for all of them:")
        echo(keys[0]["key"])
    else:
        echo_err("They are shown once:")
        by_worker = keys_by_worker(answer)
        for worker in answer["workers"]:
            echo(f"{worker['id']} {by_worker[worker['id']]['key']}")
