"""
A small fleet and what searches find in it: one table for the parser, both databases, the API and the command line.
"""

from datetime import datetime, timedelta

from tests.builders import worker

from lyftdata.core.records import (
    Approval,
    Strategy,
    TokenOriginRecord,
    WorkerRecord,
    WorkerTraces,
)
from lyftdata.store import WriteTx
from lyftdata.store.tables import activity, token_origins, workers

NOT_LISTED = {"old"}
EVERYTHING = {"press-1", "press-2", "press-10", "binder", "gpu-7", "late", "odd"}

SEARCHES: list[tuple[str, set[str]]] = [
    ("", EVERYTHING),
    # Words: any part of a name, ID, host, address, key or label.
    ("press", {"press-1", "press-2", "press-10"}),
    ("PRESS", {"press-1", "press-2", "press-10"}),
    ("müller", {"odd"}),
    ("MÜLLER", {"odd"}),
    ("rack1", {"press-1", "press-10", "gpu-7"}),
    ("10.4.", {"press-1", "press-2"}),
    ("2001:db8::", {"gpu-7"}),
    ("2001:db8:0:1", set()),
    ("press-keys", {"press-1", "press-2", "press-10"}),
    ("eu-1", {"press-1", "press-2"}),
    ('"zone=eu"', {"press-1", "press-2", "press-10"}),
    ("gpu", {"press-10", "gpu-7"}),
    ("-gpu", EVERYTHING - {"press-10", "gpu-7"}),
    ("press -gpu", {"press-1", "press-2"}),
    ("press rack1", {"press-1", "press-10"}),
    ("100%", {"odd"}),
    ("%", {"odd"}),
    ("_", {"odd"}),
    ("\\", {"odd"}),
    ('"*"', {"odd"}),
    ("p*s-1", {"press-1", "press-10"}),
    ("'; DROP TABLE workers; --", set()),
    # Fields of text: a part, all of it, or a pattern for all of it.
    ("name:press", {"press-1", "press-2", "press-10"}),
    ('name:"Press one"', {"press-1"}),
    ('name:="press one"', {"press-1"}),
    ("name:=press", set()),
    ("id:press-1", {"press-1", "press-10"}),
    ("id:=press-1", {"press-1"}),
    ("id:=PRESS-1", {"press-1"}),
    ("id:=press-1,binder", {"press-1", "binder"}),
    ("-id:=press-1,binder", EVERYTHING - {"press-1", "binder"}),
    ("id:press-*", {"press-1", "press-2", "press-10"}),
    ("id:*-1", {"press-1"}),
    ('id:"press-*"', set()),
    ("host:rack1", {"press-1", "press-10", "gpu-7"}),
    ("host:RACK1", {"press-1", "press-10", "gpu-7"}),
    ("host:=rack1", {"press-1"}),
    ("host:rack1*", {"press-1", "press-10", "gpu-7"}),
    ("host:*.example", {"gpu-7"}),
    ("host:rack*.ex*", {"gpu-7"}),
    ("host:Straße", {"odd"}),
    ("host:STRASSE", {"odd"}),
    ('host:="100%_\\\\ straße"', {"odd"}),
    ("-host:rack", {"binder", "late", "odd"}),
    ("host:*", EVERYTHING - {"binder", "late"}),
    # Networks.
    ("address:10.4.0.0/16", {"press-1", "press-2"}),
    ("address:10.4.0.0/15", {"press-1", "press-2", "press-10"}),
    ("address:10.4.0.1", {"press-1"}),
    ("address:10.4.0.1,10.5.0.3", {"press-1", "press-10"}),
    ("address:10.40.0.0/16", set()),
    ("address:::ffff:10.4.0.1", {"press-1"}),
    ("address:2001:db8::/32", {"gpu-7"}),
    ("address:2001:0DB8::7", {"gpu-7"}),
    ("address:0.0.0.0/0", {"press-1", "press-2", "press-10"}),
    ("-address:10.0.0.0/8", EVERYTHING - {"press-1", "press-2", "press-10"}),
    # Keys, and their generations.
    ("key:press-keys", {"press-1", "press-2", "press-10"}),
    ("key:press-*", {"press-1", "press-2", "press-10"}),
    ("key:press", set()),
    ("key:press-keys@1", {"press-1"}),
    ("key:press-keys@old", {"press-1"}),
    ("key:press-keys@2", {"press-2"}),
    ("key:press-keys@current", {"press-2"}),
    ("key:press-keys@7", set()),
    ("key:*@current", {"press-2"}),
    ("-key:press-keys", EVERYTHING - {"press-1", "press-2", "press-10"}),
    # Labels.
    ("zone=eu-1", {"press-1", "press-2"}),
    ("zone=EU-1", set()),
    ("Zone=eu-1", set()),
    ("zone=eu-1,eu-2", {"press-1", "press-2", "press-10"}),
    ("zone=eu-*", {"press-1", "press-2", "press-10"}),
    ("zone=*", {"press-1", "press-2", "press-10"}),
    ("-zone=eu-1", EVERYTHING - {"press-1", "press-2"}),
    ("gpu=", {"gpu-7"}),
    ("label:gpu", {"gpu-7"}),
    ("label:zone", {"press-1", "press-2", "press-10"}),
    ('label:"zone=eu-1"', {"press-1", "press-2"}),
    ("-label:zone", EVERYTHING - {"press-1", "press-2", "press-10"}),
    ('note="in use"', {"binder"}),
    # States and strategies.
    ("status:disabled", {"press-10"}),
    ("status:offline", {"press-1", "press-2", "gpu-7", "odd"}),
    ("Status:Offline", {"press-1", "press-2", "gpu-7", "odd"}),
    ("status:never-connected", {"binder"}),
    ("status:offline,disabled", {"press-1", "press-2", "press-10", "gpu-7", "odd"}),
    ("-status:offline", {"press-10", "binder", "late"}),
    ("status:pending", {"late"}),
    ("status:online", set()),
    ("status:archived", {"old"}),
    ("status:archived press", set()),
    ("-status:archived", EVERYTHING),
    ("strategy:auto_enrollment", {"gpu-7", "late"}),
    ("rotation:never", {"gpu-7", "late"}),
    ("rotation:asked", set()),
    # Versions.
    ("version:1.4", {"press-1", "press-2"}),
    ("version:=1.4", {"press-1"}),
    ("version:=1.4.0.0", {"press-1"}),
    ("version:<1.4", {"press-10", "odd"}),
    ("version:<=1.4", {"press-1", "press-10", "odd"}),
    ("version:>1.4", {"press-2", "gpu-7"}),
    ("version:>=v1.10", {"gpu-7"}),
    ("version:1.3.0rc1", {"odd"}),
    ("-version:<1.4", EVERYTHING - {"press-10", "odd"}),
    # Times.
    ("seen:<1h", {"press-1"}),
    ("seen:>1h", {"press-2", "press-10", "gpu-7", "odd"}),
    ("seen:>1h seen:<3d", {"press-2"}),
    ("seen:<1h,>7d", {"press-1", "press-10", "gpu-7", "odd"}),
    ("seen:never", {"binder", "late"}),
    ("created:<1d", {"late"}),
    ("created:>1d", EVERYTHING - {"late"}),
    ("inactive:>5d", {"press-10", "binder", "gpu-7", "odd"}),
    # Enrollment keys.
    ("enrolled:=abcd1234", {"gpu-7"}),
    ("enrolled:abcd", {"gpu-7"}),
    ("enrolled:*", {"gpu-7", "late"}),
    ("-enrolled:*", EVERYTHING - {"gpu-7", "late"}),
    # All together.
    ("host:rack1 status:offline zone=eu-1 -gpu seen:<1h key:press-keys@1", {"press-1"}),
]

REJECTED: list[tuple[str, int, str]] = [
    ("hsot:rack1", 1, "there is no field 'hsot'. Did you mean 'host:'?"),
    ("press -hsot:rack1", 8, "there is no field 'hsot'. Did you mean 'host:'?"),
    ("stauts:offline", 1, "there is no field 'stauts'. Did you mean 'status:'?"),
    ("zzz:1", 1, "there is no field 'zzz'. There are: name, id, host,"),
    ("text:press", 1, "there is no field 'text'."),
    ("http://press", 1, "A text with a colon is searched for in quotes."),
    ("status:ofline", 8, "'ofline' is not one of: online, offline, never_connected, disabled, "),
    ("status:ofline", 8, "Did you mean 'offline'?"),
    ("status:off*", 8, "'off*' is not one of"),
    ("status:<offline", 8, "'<' cannot be used here."),
    ("strategy:apikey", 10, "Did you mean 'api_key'?"),
    ("host:", 6, "a value is missing."),
    ("host:rack1,", 12, "a value is missing."),
    ("host:,rack1", 6, "a value is missing."),
    ('host:""', 6, "the text is empty."),
    ("host:<rack1", 6, "'<' cannot be used with a text."),
    ('name:"press', 6, "a quote is not closed."),
    ("-", 1, "a word must follow '-'."),
    ("press - gpu", 7, "a word must follow '-'."),
    ('""', 1, "a text to search for is missing."),
    ("=eu-1", 1, "the key of a label is missing before '='."),
    ("label:*", 7, "the key of a label is expected"),
    ("address:10.4", 9, "'10.4' is not an address or a network"),
    ("address:10.4.0.0/33", 9, "is not an address or a network"),
    ("address:>10.4.0.1", 9, "'>' cannot be used here."),
    ("key:press-keys@", 5, "the number of a generation"),
    ("key:press-keys@0", 5, "the number of a generation"),
    ("key:press-keys@newest", 5, "the number of a generation"),
    ("version:new", 9, "'new' is not a version"),
    ("version:1.*", 9, "'1.*' is not a version"),
    ("seen:1h", 6, "an age begins with '<' or '>'"),
    ("seen:<=1h", 6, "an age begins with '<' or '>'"),
    ("seen:<soon", 6, "'soon' is not a duration"),
    ("seen:<99999999d", 6, "is not a duration: it must be at most 36500d."),
    ("created:never", 9, "an age begins with '<' or '>'"),
    ("inactive:<30d", 10, "it begins with '>'"),
    ("a*b*c*d*e*f", 1, "at most 4 wildcards"),
    ("x " * 21, 41, "at most 20 words"),
    ("id:" + ",".join("abcdefghij" * 6), 1, "at most 50 values"),
    ("x" * 501, 501, "at most 500 characters"),
    ("a\x07b", 2, "printable"),
]


def write_fleet(tx: WriteTx, now: datetime) -> None:
    """Write the Workers that `SEARCHES` finds; the caller makes the key `press-keys` with two generations."""
    day = timedelta(days=1)
    for record in _records(now):
        workers.insert_worker(tx, record, unique_name=False)
    activity.upsert_traces(
        tx,
        [
            _left("press-1", now - day / 48, "10.4.0.1", "rack1", "1.4.0", "press-keys"),
            _left("press-2", now - 2 * day, "10.4.0.2", "Rack2", "1.4.2", "press-keys"),
            _left("press-10", now - 8 * day, "10.5.0.3", "rack10", "1.3", "press-keys"),
            _left("gpu-7", now - 9 * day, "2001:db8::7", "RACK12.example", "1.10.1"),
            _left("odd", now - 10 * day, "unknown", "100%_\\ Straße", "1.3.0rc1"),
            _left("old", now - 200 * day, "10.4.0.9", "rack1", "1.4.0"),
        ],
    )


def write_origins(tx: WriteTx, now: datetime, first: str, second: str) -> None:
    """Record which generation of `press-keys`, given by public ID, Workers got tokens with."""
    token_origins.merge_origins(
        tx,
        [
            _origin("press-1", first, now - timedelta(hours=1)),
            _origin("press-2", first, now - timedelta(days=3)),
            _origin("press-2", second, now - timedelta(days=2)),
        ],
    )


def _records(now: datetime) -> list[WorkerRecord]:
    long_ago = now - timedelta(days=300)
    enrolled = {"strategy": Strategy.AUTO_ENROLLMENT, "created_at": long_ago}
    return [
        worker("press-1", name="Press one", labels={"zone": "eu-1"}, created_at=long_ago),
        worker("press-2", name="Press two", labels={"zone": "eu-1"}, created_at=long_ago),
        worker(
            "press-10",
            name="press ten with gpu",
            labels={"zone": "eu-2"},
            enabled=False,
            created_at=long_ago,
        ),
        worker("binder", labels={"note": "in use"}, created_at=long_ago),
        worker("gpu-7", labels={"gpu": ""}, enrolled_with="abcd1234", thumbprint="t-gpu", **enrolled),
        worker(
            "late",
            enrolled_with="ffff0000",
            thumbprint="t-late",
            approval=Approval.PENDING,
            **(enrolled | {"created_at": now - timedelta(hours=2)}),
        ),
        worker("odd", name="100% Müller_*\\", created_at=long_ago),
        worker("old", name="old", archived_at=now - timedelta(days=100), created_at=long_ago),
    ]


def _left(
    worker_id: str, at: datetime, address: str, hostname: str, version: str, key: str | None = None
) -> WorkerTraces:
    host = {"hostname": hostname, "agent_version": version}
    return WorkerTraces(worker_id=worker_id, last_seen_at=at, address=address, api_key_name=key, host=host)


def _origin(worker_id: str, public_id: str, at: datetime) -> TokenOriginRecord:
    return TokenOriginRecord(
        worker_id=worker_id,
        network="10.4.0.0/24",
        credential=f"key.{public_id}",
        audience="https://lyftdata.example",
        address="10.4.0.1",
        first_at=at,
        last_at=at,
    )
