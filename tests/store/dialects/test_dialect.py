"""How a URL is passed to the PostgreSQL driver."""

import pytest

from lyftdata.store import StoreError
from lyftdata.store.dialects import dialect
from lyftdata.store.dialects.timed_connection import TimedConnection


def test_a_url_may_have_several_hosts_and_its_own_settings(monkeypatch: pytest.MonkeyPatch):
    """Settings in the URL are passed to libpq unchanged; our defaults apply to the others."""
    made = dialect.make_engine(
        "postgresql://owner:pw@/state?host=db1:5432&host=db2:5433&target_session_attrs=read-write&connect_timeout=2"
    )
    seen = []

    def connect(**parameters: object) -> None:
        seen.append(parameters)
        raise StoreError("not now")

    monkeypatch.setattr(TimedConnection, "connect", connect)

    with pytest.raises(StoreError):
        made.connect()
    (given,) = seen
    assert (given["host"], given["port"]) == ("db1,db2", "5432,5433")
    assert (given["target_session_attrs"], given["connect_timeout"]) == ("read-write", "2")
    assert given["keepalives"] == 1
