"""`lyftdata workers add` with a range of names."""

from pathlib import Path

import httpx2
import pytest

from lyftdata.cli import new_workers
from lyftdata.cli.api import Api
from lyftdata.core.errors import InvalidInputError, LyftdataError


def test_a_range_adds_many_workers_with_a_file_each(listening, operator, tmp_path):
    """The files are private and have what a Worker needs to get a token; no key is printed."""
    directory = tmp_path / "keys"

    ended = operator.run(
        "workers", "add", "range-[01-03]", "--id", "range-[01-03]", "--issue-key", "--output", str(directory)
    )

    assert ended.exit_code == 0, ended.errors
    assert "lyftdata_" not in ended.output + ended.errors
    assert sorted(file.name for file in directory.iterdir()) == [f"range-0{n}.env" for n in (1, 2, 3)]
    assert directory.stat().st_mode & 0o777 == 0o700
    for file in directory.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        values = dict(line.split("=", 1) for line in file.read_text().splitlines())
        assert values["LYFTDATA_WORKER_ID"] == file.stem
        answer = httpx2.post(
            f"{values['LYFTDATA_URL']}/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(values["LYFTDATA_WORKER_ID"], values["LYFTDATA_WORKER_API_KEY"]),
            trust_env=False,
        )
        assert answer.status_code == 200


def test_only_the_shared_key_is_on_standard_output(operator):
    """As for a single Worker."""
    ended = operator.run("workers", "add", "shared-[1-2]", "--shared-key")

    assert (ended.exit_code, ended.output.startswith("lyftdata_"), ended.output.count("\n")) == (0, True, 1)
    assert "2 Workers added: shared-1 to shared-2" in ended.errors


def test_each_key_is_printed_with_its_workers_id(operator):
    """One line per Worker; without new keys, only the IDs."""
    ended = operator.run("workers", "add", "each-[1-2]", "--id", "each-[1-2]", "--issue-key")
    plain = operator.run("workers", "add", "plain-[1-2]", "--id", "plain-[1-2]")

    assert [line.split()[0] for line in ended.output.splitlines()] == ["each-1", "each-2"]
    assert ended.output.count(" lyftdata_") == 2
    assert plain.output.splitlines() == ["plain-1", "plain-2"]


@pytest.mark.parametrize("directory", [None, Path("keys")])
@pytest.mark.parametrize("tls_ca", [None, Path("/etc/lyftdata-tls/ca.pem")])
def test_the_next_steps_name_the_ca_that_the_workers_need(capsys, directory, tls_ca):
    """
    It is the one that the operator's command used, and must be set before the agent starts; without one it is not mentioned.
    """
    answer = {"workers": [{"id": "press-01", "name": "press-01"}], "api_keys": []}

    new_workers.show_added(answer, "press-keys", directory, "https://lyft.example", tls_ca=tls_ca)

    printed = capsys.readouterr().err
    line = "  export LYFTDATA_TLS_CA=…   (a copy of /etc/lyftdata-tls/ca.pem)\n"
    assert (line in printed.partition("lyftdata run worker")[0]) is (tls_ca is not None)


def test_no_worker_is_added_if_the_directory_exists(operator, tmp_path):
    """A refused request leaves no directory behind."""
    there, new = tmp_path / "there", tmp_path / "new"
    there.mkdir()
    kept = operator.run("workers", "add", "lost-[1-2]", "--issue-key", "--output", str(there))
    refused = operator.run("workers", "add", "lost-[2-1]", "--issue-key", "--output", str(new))

    assert (kept.exit_code, "no key is overwritten" in kept.errors) == (1, True)
    assert (refused.exit_code, "goes backwards" in refused.errors) == (1, True)
    assert not new.exists()
    assert operator.json("workers", "list", "name:lost") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("use-[1-2]", "--issue-key", "--shared-key"),
        ("use-[1-2]", "--output", "x"),
        ("use-1", "--shared-key"),
    ],
)
def test_contradicting_options_are_rejected(operator, arguments):
    """Before any request."""
    assert operator.run("workers", "add", *arguments).exit_code == 2


def test_json_has_the_keys_unless_they_are_in_files(operator, tmp_path):
    """The fields are the same in both cases."""
    shown = operator.json("workers", "add", "json-[1-2]", "--issue-key")
    saved = operator.json("workers", "add", "file-[1-2]", "--issue-key", "--output", str(tmp_path / "files"))

    assert [worker["name"] for worker in shown["workers"]] == ["json-1", "json-2"]
    assert all(key["key"].startswith("lyftdata_") for key in shown["api_keys"])
    assert [key["key"] for key in saved["api_keys"]] == [None, None]


def test_only_files_that_were_written_are_counted(tmp_path):
    """Two Workers' files would have the same name: the first is kept, and the error says how many were written."""
    workers = [{"id": "a", "name": "a"}, {"id": "b", "name": "a"}]
    keys = [{"key": f"key-{worker['id']}", "worker_ids": [worker["id"]]} for worker in workers]

    with pytest.raises(LyftdataError, match="files written: 1 of 2"):
        new_workers.write_files(tmp_path, {"workers": workers, "api_keys": keys}, "http://localhost:3000")

    assert "key-a" in (tmp_path / "a.env").read_text()


def test_a_url_that_no_file_can_contain_is_rejected_first(tmp_path, monkeypatch):
    """So that no Worker is added whose key could not be written."""
    sent = []
    monkeypatch.setattr(Api, "post", lambda *arguments: sent.append(arguments))

    with pytest.raises(InvalidInputError):
        new_workers.add_many(
            "x-[1-2]",
            ids=None,
            labels={},
            issue_key=True,
            shared_key=False,
            existing_key=None,
            output=tmp_path / "keys",
            url="https://a$b",
            as_json=False,
        )

    assert sent == []
    assert not (tmp_path / "keys").exists()
