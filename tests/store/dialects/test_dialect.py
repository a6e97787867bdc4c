"""How a URL reaches the driver of PostgreSQL."""

import pytest

from lyftdata.store import StoreError
from lyftdata.store.dialects import dialect
from lyftdata.store.dialects.timed_connection import TimedConnection


def test_a_url_may_name_several_hosts_and_settings_of_its_own(monkeypatch: pytest.MonkeyPatch):
    """What the URL says goes to libpq as it is meant; what it does not say is ours."""
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
