"""Log events of `lyftdata.client`, written to the logger `lyftdata.client` of the standard library."""

from lyftdata.core.log_events import LogEvent

CLOCK_SKEWED = LogEvent(
    name="clock_skewed",
    level="warning",
    message="This host's clock differs from the Server's.",
    fields={"off": "by how much"},
    remedy="Set the clock (NTP).",
)
