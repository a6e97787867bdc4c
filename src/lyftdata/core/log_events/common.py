"""Log events of both Server and Worker."""

from lyftdata.core.log_events import LogEvent

CONFIGURATION_WARNING = LogEvent(
    name="configuration_warning",
    level="warning",
    message="A setting is probably not what was meant.",
    fields={"problem": "which setting, and what is wrong with it"},
    remedy="Correct the setting; `lyftdata config check` reports every one.",
)
