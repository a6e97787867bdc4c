"""Log events of the Worker agent."""

from lyftdata.core.log_events import LogEvent

ONLINE = LogEvent(
    name="online",
    level="info",
    message="Connected to the Server.",
    fields={
        "worker_id": "ID of this Worker",
        "name": "its name on the Server",
        "strategy": "`api_key` or `auto_enrollment`",
        "server": "URL of the Server",
    },
)
OFFLINE = LogEvent(
    name="offline",
    level="warning",
    message="Lost the connection to the Server; the COMMAND keeps running.",
    fields={"reason": "what failed"},
    remedy="The agent retries; see `retrying`.",
)
RETRYING = LogEvent(
    name="retrying",
    level="info",
    also_level="warning",
    also_when="several attempts in a row have failed",
    message="The Server cannot be reached; trying again.",
    fields={
        "reason": "address tried, the proxy used and what came back",
        "remedy": "what to do, where the agent knows it",
        "wait_s": "time until the next attempt",
    },
    remedy="Check the network and the Server.",
)
REFUSED = LogEvent(
    name="refused",
    level="error",
    message="The Server refused this Worker.",
    fields={
        "reference": "reference of the refusal at the Server",
        "code": "cause, for a Worker that proved its key",
        "reason": "meaning of the code",
        "remedy": "what to do",
        "clock": "how far this host's clock is off, if that may be the cause",
    },
    remedy="On the Server, `lyftdata refusals show REFERENCE` has the cause and the remedy.",
)
AGENT_OUTDATED = LogEvent(
    name="agent_outdated",
    level="warning",
    message="The Server asks for a newer version of this agent.",
    fields={
        "version": "version of this agent",
        "minimum": "version to update to at least",
        "refused_from": "time from which this version is refused, if it will be",
    },
    remedy="Update lyftdata on this host, and start the Worker again; before `refused_from`, if that is given.",
)
TOKEN_REJECTED = LogEvent(
    name="token_rejected",
    level="error",
    message="A token that was just issued is rejected; trying again.",
    fields={
        "reason": "who rejected it",
        "reference": "reference of the refusal at the Server",
        "remedy": "what to do",
        "wait_s": "time until the next attempt",
    },
    remedy="With a reference, `lyftdata refusals show REFERENCE`; without, check LYFTDATA_URL and the proxies on the way.",
)
API_KEY_CHANGED = LogEvent(
    name="api_key_changed",
    level="info",
    message="Using the new API key from LYFTDATA_WORKER_API_KEY_FILE.",
)
ENROLLMENT_KEY_CHANGED = LogEvent(
    name="enrollment_key_changed",
    level="info",
    message="Using the new enrollment key from LYFTDATA_AUTO_ENROLLMENT_KEY_FILE.",
)
ENROLLING_AGAIN = LogEvent(
    name="enrolling_again",
    level="info",
    message="The Server has removed this ephemeral Worker; it enrolls again, as a new one.",
    fields={"worker_id": "ID that it had", "reference": "reference of the refusal at the Server"},
)
ENROLLING_AS_NEW = LogEvent(
    name="enrolling_as_new",
    level="warning",
    message="This directory is a copy of a Worker's identity; it enrolls as a new Worker.",
    fields={"copy_of": "ID of that Worker", "reference": "reference of the refusal at the Server"},
    remedy="Nothing, unless this host is the original: then stop it, and let it continue (`lyftdata workers continue-copy`).",
)
ENROLLED_AS_NEW = LogEvent(
    name="enrolled_as_new",
    level="info",
    message="Enrolled as a new Worker; the copied identity is discarded.",
    fields={
        "worker_id": "ID of this Worker",
        "name": "its name on the Server",
        "copy_of": "ID of the Worker whose identity it had",
    },
)
IDENTITY_NOT_DISCARDED = LogEvent(
    name="identity_not_discarded",
    level="warning",
    message="The identity of this ephemeral Worker, which the Server has removed, cannot be deleted.",
    fields={"problem": "what failed"},
    remedy="Nothing: the next start is refused with it, and then enrolls again.",
)
KEY_ROTATED = LogEvent(
    name="identity_key_rotated",
    level="info",
    message="The identity key was rotated: the next token request uses the new key, which ends the old one.",
    fields={"worker_id": "ID of the Worker"},
)
KEY_NOT_ROTATED = LogEvent(
    name="identity_key_not_rotated",
    level="warning",
    message="The identity key could not be rotated; the current one stays in use, and the agent tries again.",
    fields={"problem": "what failed"},
    remedy="See `problem`: make the directory writable, or wait until the Server can be reached.",
)
UNKNOWN_DIRECTIVE = LogEvent(
    name="unknown_directive",
    level="debug",
    message="Ignored a directive that this version does not know.",
    fields={"kind": "kind of the directive"},
)
POLLS_CUT = LogEvent(
    name="polls_cut",
    level="warning",
    message="Something between this host and the Server closed three held polls after the same time; shorter polls are used.",
    fields={
        "cut_after_s": "after how long the connection was closed",
        "hold_s": "how long polls are held from now on",
    },
    remedy="Have proxies wait longer for an answer.",
)
CLOCK_SKEWED = LogEvent(
    name="clock_skewed",
    level="warning",
    message="This host's clock differs from the Server's.",
    fields={"off": "by how much"},
    remedy="Set the clock (NTP).",
)
STOPPED = LogEvent(name="stopped", level="info", message="The agent has stopped.")
SIGN_OFF_FAILED = LogEvent(
    name="sign_off_failed",
    level="debug",
    message="The Server was not notified that this Worker stops; it shows the Worker online until its poll expires.",
)

# --- identity -----------------------------------------------------------------------------------------------

ENROLLED = LogEvent(
    name="enrolled",
    level="info",
    message="Enrolled with the Server.",
    fields={"worker_id": "ID that the Server assigned", "name": "name of this Worker"},
)
AWAITING_APPROVAL = LogEvent(
    name="awaiting_approval",
    level="warning",
    message="Enrolled, and waiting until an operator approves this Worker; it connects by itself then.",
    fields={
        "worker_id": "ID that the Server assigned",
        "name": "name of this Worker",
        "fingerprint": "of its identity key, for the operator to compare",
        "remedy": "what the operator does",
    },
    remedy="On the Server, `lyftdata enrollment pending` lists it with the same fingerprint; `lyftdata enrollment approve ID` lets it in.",
)
ENROLLMENT_BLOCKED = LogEvent(
    name="enrollment_blocked",
    level="error",
    message="The identity cannot be saved, so nothing is sent; trying again.",
    fields={"reason": "what failed", "remedy": "what to do", "wait_s": "time until the next attempt"},
    remedy="Make room, or correct the permissions of the directory.",
)
MOVED = LogEvent(
    name="moved",
    level="info",
    message="Switched to the Server's new address.",
    fields={
        "worker_id": "ID of this Worker",
        "issuer": "new issuer",
        "previous_issuer": "issuer until now",
    },
)
RENAMED = LogEvent(
    name="renamed",
    level="info",
    message="An operator renamed this Worker.",
    fields={"worker_id": "ID of this Worker", "name": "new name", "previous_name": "name until now"},
)
COUNTER_NOT_SAVED = LogEvent(
    name="counter_not_saved",
    level="warning",
    message="The counter of this identity's signatures cannot be saved; tokens are still requested, but a copied identity is detected later.",
    fields={"problem": "what failed"},
    remedy="Make room, or make the Worker's directory writable.",
)
IDENTITY_NOT_SAVED = LogEvent(
    name="identity_not_saved",
    level="warning",
    message="The Server's new address or this Worker's new name cannot be saved; the next start asks the Server again.",
    fields={"problem": "what failed"},
    remedy="Make room, or correct the permissions of the directory.",
)
WORKER_NAME_UNUSED = LogEvent(
    name="worker_name_unused",
    level="info",
    message="LYFTDATA_WORKER_NAME has no effect with an API key; an operator names the Worker.",
    remedy="Remove LYFTDATA_WORKER_NAME, unless the COMMAND reads it.",
)

# --- tokens for the COMMAND ---------------------------------------------------------------------------------

TOKEN_FILE_WRITE_FAILED = LogEvent(
    name="token_file_write_failed",
    level="error",
    message="The token file cannot be written; the previous token stays in it.",
    fields={"reason": "what failed"},
    remedy="Make room; the token socket has the current token.",
)
TOKEN_FILE_RECOVERED = LogEvent(
    name="token_file_recovered", level="info", message="The token file is written again."
)
TOKEN_SOCKET_ABORTED = LogEvent(
    name="token_socket_aborted",
    level="debug",
    message="A client of the token socket disconnected or was too slow.",
)

# --- the COMMAND --------------------------------------------------------------------------------------------

COMMAND_STOPPED = LogEvent(
    name="command_stopped",
    level="info",
    message="Stopped the COMMAND.",
    fields={"signal": "signal that it was sent", "exit_code": "its exit code"},
)
COMMAND_ENDED = LogEvent(
    name="command_ended",
    level="info",
    message="The COMMAND ended and is not restarted.",
    fields={"exit_code": "its exit code"},
)
COMMAND_RESTARTING = LogEvent(
    name="command_restarting",
    level="info",
    message="The COMMAND ended; restarting it.",
    fields={"exit_code": "its exit code", "wait_s": "time until it is started"},
)
COMMAND_START_FAILED = LogEvent(
    name="command_start_failed",
    level="error",
    message="The COMMAND cannot be started.",
    fields={"reason": "what failed"},
    remedy="Correct the path or the permissions of the program.",
)
COMMAND_KILLED = LogEvent(
    name="command_killed",
    level="warning",
    message="The COMMAND did not end in time; killing it.",
    fields={"grace_s": "time that it had to end"},
    remedy="Have the program end on SIGTERM, or allow it more time.",
)
PROCESSES_SURVIVED = LogEvent(
    name="processes_survived",
    level="error",
    message="Processes of the COMMAND did not end on SIGKILL.",
    fields={"pids": "their process IDs"},
    remedy="Look at them with `ps`; a process in uninterruptible sleep waits for a device or a network file system.",
)
