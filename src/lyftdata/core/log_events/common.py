"""Log events of both Server and Worker."""

from lyftdata.core.log_events import LogEvent

CONFIGURATION_WARNING = LogEvent(
    name="configuration_warning",
    level="warning",
    message="A check at the start found something to correct.",
    fields={"problem": "what is wrong, and what to do about it"},
    remedy="Do what `problem` says. `lyftdata config check` reports every setting that is probably not what was meant.",
)
