"""Log events of `lyftdata.client`, written to the logger `lyftdata.client` of the standard library."""

from lyftdata.core.log_events import LogEvent

CLOCK_SKEWED = LogEvent(
    name="clock_skewed",
    level="warning",
    message="This host's clock differs from the Server's.",
    fields={"off": "by how much"},
    remedy="Set the clock (NTP).",
)
COUNTER_NOT_SAVED = LogEvent(
    name="counter_not_saved",
    level="warning",
    message="The counter of this identity's signatures cannot be saved; tokens are still requested, but a copied identity is detected later.",
    fields={"problem": "what failed"},
    remedy="Make room, or make the Worker's directory writable.",
)
