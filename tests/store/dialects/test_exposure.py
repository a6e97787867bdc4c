"""Access of other roles to the database is detected, and the documented statements close it."""

import re
from pathlib import Path

import pytest
from psycopg import sql
from tests.store.conftest import AUDIT_KEY

from lyftdata.store import Store, StoreError
from lyftdata.store.dialects import exposure

ROOT = Path(__file__).parents[3]
WHERE_IT_IS_CLOSED = (
    "docs/how-to/run-several-servers.md",
    "docs/how-to/operations.md",
    "examples/several-servers/database.sql",
)


@pytest.fixture
def database_url(cluster):
    """Return the URL of a database as `createdb` creates it."""
    return cluster.new_database()


@pytest.fixture
def database(database_url):
    """Return the name of the database."""
    return database_url.rpartition("/")[2]


@pytest.fixture(params=WHERE_IT_IS_CLOSED[:1])
def closed(cluster, database_url, database, request):
    """Return the URL of the database after the statements of a page or an example were run in it."""
    text = (ROOT / request.param).read_text(encoding="utf-8")
    statements = re.findall(r"REVOKE [A-Z ]+ ON \w+ \w+ FROM PUBLIC", text)
    assert len(statements) >= 2
    for statement in statements:
        cluster.execute(statement.replace("DATABASE lyftdata ", f"DATABASE {database} "), database)
    return database_url


def test_a_new_database_is_open_to_every_role(database_url, database):
    """By default PostgreSQL lets every role connect; the message says what to run."""
    [problem] = exposure.ask(database_url)

    assert problem.startswith("LYFTDATA_DATABASE_URL: every role")
    assert problem.endswith(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")


@pytest.mark.parametrize("closed", WHERE_IT_IS_CLOSED, indirect=True)
async def test_nothing_is_open_after_the_documented_statements(closed):
    """A Server starts on a database that was closed in this way, and warns about nothing."""
    store = Store.open(closed, audit_key=AUDIT_KEY)

    assert await store.read(exposure.find) == exposure.ask(closed) == []
    await store.close()


@pytest.mark.parametrize(
    ("opened", "problem"),
    [
        ("GRANT CONNECT ON DATABASE {database} TO PUBLIC", "may connect"),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
        ("GRANT SELECT ON presence TO PUBLIC", "rights on the tables presence"),
        ("GRANT TRIGGER ON ALL TABLES IN SCHEMA public TO PUBLIC", r"admin_sessions, .* and \d+ more"),
    ],
)
async def test_each_grant_to_public_is_detected(closed, cluster, database, opened, problem):
    """One grant to PUBLIC after the tables were created: one message."""
    await Store.open(closed, audit_key=AUDIT_KEY).close()
    cluster.execute(opened.format(database=database), database)

    [found] = exposure.ask(closed)
    assert re.search(problem, found)


async def test_tables_owned_by_another_role_are_reported(closed, cluster, database):
    """A role that could create the tables first owns them, and can change who is admitted."""
    await Store.open(closed, audit_key=AUDIT_KEY).close()
    ours, theirs = f"server_{database}", f"early_{database}"
    for statement in (
        "CREATE ROLE {ours} LOGIN PASSWORD 'x'",
        "CREATE ROLE {theirs}",
        "GRANT CONNECT ON DATABASE {database} TO {ours}",
        "ALTER TABLE workers OWNER TO {theirs}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ours}",
    ):
        names = {"ours": ours, "theirs": theirs, "database": database}
        given = {key: sql.Identifier(name) for key, name in names.items()}
        cluster.execute(sql.SQL(statement).format(**given), database)
    url = closed.replace("owner:not-a-secret", f"{ours}:x")

    problems = exposure.ask(url)
    assert any(f"the tables workers belong to the role {theirs}" in problem for problem in problems)
    cluster.execute(sql.SQL("GRANT {}, owner TO {}").format(*map(sql.Identifier, (theirs, ours))))
    assert exposure.ask(url) == []


def test_a_database_that_does_not_answer_is_reported(cluster):
    """Whether unreachable or refusing: an error in one line, without the password."""
    for url in (
        "postgresql://owner:pass-word@127.0.0.1:1/none",
        cluster.url("none").replace("not-a-secret", "pass-word"),
    ):
        with pytest.raises(StoreError) as caught:
            exposure.ask(url)
        assert "the database cannot be used" in caught.value.message
        assert "pass-word" not in str(caught.value)
        assert "\n" not in caught.value.message


def test_sqlite_has_no_exposure(tmp_path):
    """SQLite has no roles; no database is opened, and no file is created."""
    assert exposure.ask(f"sqlite:///{tmp_path}/none.db") == []
    assert list(tmp_path.iterdir()) == []
