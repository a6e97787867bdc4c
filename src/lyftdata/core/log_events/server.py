"""Log events of the Server."""

from lyftdata.core.log_events import LogEvent

READY = LogEvent(
    name="ready",
    level="info",
    message="Serving requests.",
    fields={
        "address": "address and port that it listens on",
        "issuer": "issuer in the tokens (LYFTDATA_PUBLIC_URL)",
        "staging_dir": "data directory",
        "workers": "number of Workers in the directory",
        "auto_enrollment": "`on` or `off`",
    },
)
STOPPING = LogEvent(name="stopping", level="info", message="Shutting down.")
PROCESSES_READY = LogEvent(
    name="processes_ready",
    level="info",
    message="All processes of this Server are serving requests.",
    fields={"processes": "how many there are (LYFTDATA_PROCESSES)"},
)
PROCESSES_STOPPING = LogEvent(
    name="processes_stopping", level="info", message="Stopping all processes of this Server."
)
PROCESS_ENDED = LogEvent(
    name="process_ended",
    level="error",
    message="A process of this Server has ended; the others go on if there are any.",
    fields={
        "number": "which one, from 1",
        "pid": "its process ID",
        "how": "its exit code, the signal that ended it, or why it could not be started",
        "again_in_s": "after how many seconds it is started again; missing if the whole Server ends",
    },
    remedy="See what the same `process` logged before. SIGKILL without process_hung is most often the kernel, for want of memory.",
)
PROCESS_HUNG = LogEvent(
    name="process_hung",
    level="error",
    message="A process of this Server does not answer; it is killed and started again.",
    fields={"number": "which one, from 1", "pid": "its process ID"},
    remedy="If it happens again, report it, with what the process logged before.",
)
DRAINING = LogEvent(
    name="draining",
    level="info",
    message="Draining: /readyz fails from now on, and requests are served until load balancers have noticed.",
    fields={"workers": "number of Workers connected here", "delay_s": "LYFTDATA_SHUTDOWN_DELAY, in seconds"},
)
DRAINED = LogEvent(
    name="drained",
    level="info",
    message="Drained; closing the listener.",
    fields={
        "left": "Workers that have not polled at another Server yet; they are shown offline until they do",
        "unfinished": "requests that are still being answered",
    },
)
CERTIFICATE_RELOADED = LogEvent(
    name="certificate_reloaded",
    level="info",
    message="Serving new connections with the renewed TLS certificate.",
)
CERTIFICATE_RELOAD_FAILED = LogEvent(
    name="certificate_reload_failed",
    level="warning",
    message="The renewed TLS certificate cannot be used; the previous one stays in use.",
    fields={"problem": "what is wrong with the files"},
    remedy="Correct LYFTDATA_TLS_CERT and LYFTDATA_TLS_KEY; the files are read again when they change.",
)
SIGNING_KEYS_ROTATED = LogEvent(
    name="signing_keys_rotated",
    level="info",
    message="Rotated the keys that sign worker tokens.",
    fields={"at": "time of the rotation, ISO 8601 UTC"},
)
SECRET_KEY_SETTLED = LogEvent(
    name="secret_key_settled",
    level="warning",
    message="A rotation of the secret key was interrupted; the key that fits the database is in secret.key.",
    fields={"key": "`new`: the rotation was finished; `old`: it had changed nothing"},
    remedy="If `key` is old, stop the Server and run `lyftdata admin rotate-secret-key` again.",
)

ISSUER_UNUSABLE = LogEvent(
    name="issuer_unusable",
    level="warning",
    message="The OpenID Connect issuer gave no answer that can be used; an operator could not sign in, or be signed out.",
    fields={
        "issuer": "LYFTDATA_OIDC_ISSUER",
        "problem": "what is wrong; no token and no secret",
        "left_out": "failures since the last line that were not logged",
    },
    remedy="Run `lyftdata doctor server` with the Server's environment; compare the settings with those at the issuer.",
)

# --- requests -----------------------------------------------------------------------------------------------

TRACES_NOT_SENT = LogEvent(
    name="traces_not_sent",
    level="warning",
    message="Traces do not reach the OpenTelemetry collector; requests are answered all the same.",
    fields={
        "problem": "what the OpenTelemetry library says, without addresses and answers",
        "left_out": "failures since the last line that were not logged",
    },
    remedy="Check OTEL_EXPORTER_OTLP_ENDPOINT, and that the collector takes OTLP over HTTP there.",
)
OVERLOADED = LogEvent(
    name="overloaded",
    level="warning",
    message="Shedding load with 503 and Retry-After.",
    fields={"behind_s": "how long requests wait for the event loop"},
    remedy="Give the Server more CPU, or add a Server; Workers retry by themselves.",
)
REQUEST_FAILED = LogEvent(
    name="request_failed",
    level="error",
    also_level="warning",
    also_when="the failure is expected, such as a database that does not answer",
    message="A request was answered with an error of the Server.",
    fields={"problem": "what failed", "left_out": "failures since the last line that were not logged"},
    remedy="See `problem`; a traceback is a bug to report.",
)
PAGE_FAILED = LogEvent(
    name="page_failed",
    level="error",
    message="A page could not be shown.",
    fields={"path": "path of the page", "problem": "what failed"},
    remedy="See `problem`; most often the database does not answer.",
)
PROXY_SENDS_NO_X_FORWARDED_FOR = LogEvent(
    name="proxy_sends_no_x_forwarded_for",
    level="warning",
    message="A trusted proxy sends no X-Forwarded-For, so all its clients count as one address in lockouts and limits.",
    fields={"peer": "address of the proxy", "headers": "forwarding headers that it sent"},
    remedy="Have the proxy send X-Forwarded-For; no other forwarding header is read.",
)
UNNAMED_PROXY = LogEvent(
    name="unnamed_proxy",
    level="warning",
    message="A proxy that LYFTDATA_TRUSTED_PROXIES does not name sends forwarding headers, which are ignored.",
    fields={"peer": "address of the proxy", "headers": "forwarding headers that it sent"},
    remedy="If the proxy is yours, name it in LYFTDATA_TRUSTED_PROXIES: until then all its clients count as one address, and anyone's wrong "
    "passwords lock every operator out. If not, the header was forged.",
)

# --- who gets in --------------------------------------------------------------------------------------------

REFUSED = LogEvent(
    name="refused",
    level="info",
    message="A Worker or caller was refused.",
    fields={
        "code": "cause, as in the [refusals](refusals.md)",
        "reference": "reference that the caller was given",
        "address": "address of the caller",
        "claimed_worker": "Worker that the caller claimed to be, unproven",
    },
    remedy="`lyftdata refusals show REFERENCE` has the cause and the remedy.",
)
TOKEN_FROM_ANOTHER_NETWORK = LogEvent(
    name="token_from_another_network",
    level="warning",
    message="A token was given out from another network than that from which its Worker is connected.",
    fields={
        "worker": "ID of the Worker",
        "address": "address from which the token was asked for",
        "session_address": "address from which the Worker is connected",
        "credential": "`key.` and the public ID of the API key, or `jkt.` and the thumbprint of the identity key",
        "audience": "audience of the token",
    },
    remedy="If the address is not the Worker's own, its credential was copied: `lyftdata incident worker:ID` shows what it got and cuts it off. If it is, name both networks in "
    "LYFTDATA_OWN_NETWORKS.",
)
REFUSAL_LOG_THROTTLED = LogEvent(
    name="refusal_log_throttled",
    level="warning",
    message="Refusals exceed the write limit; the rest are counted only.",
    fields={"left_out": "refusals since the last line that were counted only"},
    remedy="Find the source of the flood in the recorded refusals and block it at the firewall or proxy.",
)
ENROLLED_AGAINST_RULES = LogEvent(
    name="enrolled_against_rules",
    level="warning",
    message="An enrollment key of mode warn has let in a Worker that its rules would have refused.",
    fields={
        "worker": "ID of the Worker",
        "name": "name of the Worker",
        "address": "address from which it enrolled",
        "key": "name of the enrollment key",
        "codes": "the causes for which a key of mode auto would have refused it",
    },
    remedy="If the host may be admitted, issue a key whose rules it fits (`lyftdata enrollment rehearse KEY` lists all). If not, the key "
    "has leaked: revoke it, and disable or delete the Worker.",
)
REPEATED_REGISTRATIONS = LogEvent(
    name="repeated_registrations",
    level="warning",
    message="A client registers again at each start instead of keeping its registration.",
    fields={
        "name": "name of the registrations; `*` stands for what differs",
        "address": "host from which the latest came",
        "replaced": "how many registrations it has replaced by later ones",
    },
    remedy="Let the client keep its key and its client_id between starts, or give it an enrollment key that was issued with --ephemeral.",
)
REFUSAL_NOT_RECORDED = LogEvent(
    name="refusal_not_recorded",
    level="error",
    message="A session was ended, but its refusal could not be recorded.",
    fields={"worker": "ID of the Worker"},
    remedy="Report the traceback.",
)
LOCKOUT_NOT_RECORDED = LogEvent(
    name="lockout_not_recorded",
    level="error",
    message="A sign-in was locked, but the audit event could not be written.",
    fields={"problem": "what failed"},
    remedy="Check the database; the lockout itself is in force.",
)
API_TOKEN_REJECTED = LogEvent(
    name="api_token_rejected",
    level="warning",
    message="Rejected an API token that was revoked or has expired; its bearer holds the whole token.",
    fields={
        "token": "name of the token",
        "address": "IP address of the caller",
        "problem": "why it was rejected",
        "left_out": "rejections since the last line that were not logged",
    },
    remedy="If the caller is yours, give it another token; if not, find out where the token leaked.",
)
IDENTITY_KEY_UNREADABLE = LogEvent(
    name="identity_key_unreadable",
    level="error",
    message="The stored identity key of a Worker cannot be read, so that Worker is refused.",
    fields={"worker": "ID of the Worker", "problem": "what is wrong with the row"},
    remedy="Find out who changed the database; delete the Worker and let it enroll again.",
)
USED_ASSERTIONS_UNREADABLE = LogEvent(
    name="used_assertions_unreadable",
    level="warning",
    message="The list of used assertions of the previous run cannot be read; older assertions are refused.",
    fields={"file": "path of the list", "problem": "what failed"},
)
USED_ASSERTIONS_NOT_KEPT = LogEvent(
    name="used_assertions_not_kept",
    level="warning",
    message="The list of used assertions cannot be saved for the next start, which refuses older assertions.",
    fields={"problem": "what failed"},
    remedy="Make room in the data directory; Workers sign again.",
)

# --- audit --------------------------------------------------------------------------------------------------

DECISION = LogEvent(
    name="decision",
    level="info",
    message="An event was added to the audit log.",
    fields={
        "number": "number in the audit log",
        "at": "time, ISO 8601 UTC",
        "action": "action of the audit event",
        "actor": "who did it",
        "subject": "what it was done to",
        "address": "address of the actor",
        "details": "details of the audit event",
    },
)
WORKER_ONLINE = LogEvent(
    name="worker_online",
    level="info",
    message="A Worker has connected.",
    fields={"worker_id": "ID of the Worker", "address": "its address"},
)
WORKER_OFFLINE = LogEvent(
    name="worker_offline",
    level="info",
    message="A Worker is no longer connected.",
    fields={"worker_id": "ID of the Worker", "address": "its address", "reason": "why"},
)
AUDIT_LOG_CHANGED = LogEvent(
    name="audit_log_changed",
    level="error",
    message="The audit log was changed outside the Server.",
    fields={
        "problem": "what does not fit",
        "first_bad": "number of the first event that does not fit",
        "checked": "number of events checked",
    },
    remedy="Treat it as an incident; `lyftdata audit verify` shows where.",
)
AUDIT_CHECKPOINT_SIGNED = LogEvent(
    name="audit_checkpoint_signed",
    level="info",
    message="A checkpoint of the audit log was signed.",
    fields={
        "occasion": "`start`, `hour`, `stop` or `export`",
        "origin": "name of the log",
        "size": "number of events",
        "root": "root of the Merkle tree of these events, base64",
        "signature": "key ID and Ed25519 signature of the three lines origin, size and root, base64",
    },
)
AUDIT_CHECKPOINT_NOT_SIGNED = LogEvent(
    name="audit_checkpoint_not_signed",
    level="error",
    also_level="warning",
    also_when="the database cannot be used; the next one is signed when it can",
    message="No checkpoint of the audit log was signed.",
    fields={"problem": "what failed"},
    remedy="See `problem`; `lyftdata audit verify` shows whether the log was changed.",
)
AUDIT_CHECKPOINT_NOT_KEPT = LogEvent(
    name="audit_checkpoint_not_kept",
    level="warning",
    message="The last checkpoint of the audit log could not be written to the data directory.",
    fields={"file": "the file", "problem": "what failed"},
    remedy="Make room in the data directory; until then the next start compares the log with an older checkpoint.",
)
AUDIT_LOG_CUT = LogEvent(
    name="audit_log_cut",
    level="error",
    message="The audit log does not contain the last checkpoint that was signed: it was cut, replaced or restored.",
    fields={"problem": "what does not fit", "file": "the file that holds the checkpoint"},
    remedy="Find out why. If you restored a backup: `lyftdata admin accept-audit-log` on the Server's host. Otherwise treat it as "
    "an incident, and keep the file: it is evidence.",
)
AUDIT_LOG_NOT_CHECKED = LogEvent(
    name="audit_log_not_checked",
    level="warning",
    message="The audit log could not be checked.",
    fields={"problem": "what failed"},
    remedy="Check the database; the next check is made by itself.",
)

# --- the database -------------------------------------------------------------------------------------------

WRITES_UNAVAILABLE = LogEvent(
    name="writes_unavailable",
    level="error",
    message="The database accepts no writes.",
    fields={
        "problem": "what the database says",
        "for_s": "how long writes have failed",
        "left_out": "failures since the last line that were not logged",
    },
    remedy="Repair the database; the Server resumes by itself.",
)
WRITES_RESUMED = LogEvent(
    name="writes_resumed",
    level="info",
    message="The database accepts writes again.",
    fields={"after_s": "length of the outage"},
)
WRITE_LOCK_WAIT = LogEvent(
    name="write_lock_wait",
    level="warning",
    message="A write waits for a lock that another session holds.",
    fields={
        "waited_s": "how long it has waited",
        "holders": "the sessions that hold the lock, as far as PostgreSQL shows them",
    },
    remedy="End the session that holds the lock.",
)
FINAL_FLUSH_FAILED = LogEvent(
    name="final_flush_failed",
    level="error",
    message="Pending data could not be written at shutdown.",
    fields={"what": "which data", "problem": "what failed"},
    remedy="Check the database; last-seen times and refusals of the last seconds may be missing.",
)
TOKEN_COUNTS_DROPPED = LogEvent(
    name="token_counts_dropped",
    level="warning",
    message="Counts of issued tokens were dropped: too many wait for the database.",
    fields={"tokens": "how many tokens are not counted", "hour": "the hour in which they were issued"},
    remedy="Repair the database. Tokens are issued as before; the hourly counts of Workers are too low.",
)
BACKGROUND_TASK_FAILED = LogEvent(
    name="background_task_failed",
    level="error",
    also_level="warning",
    also_when="the failure is expected, such as a database that does not answer",
    message="A background task failed and is retried.",
    fields={
        "work": "name of the task",
        "problem": "what failed",
        "left_out": "failures since the last line that were not logged",
    },
    remedy="See `problem`; a traceback is a bug to report.",
)
BACKGROUND_STEP_FAILED = LogEvent(
    name="background_step_failed",
    level="error",
    message="One step of a background task failed; the other steps were run.",
    fields={"step": "name of the step", "problem": "what failed"},
    remedy="See `problem`.",
)

# --- several Servers ----------------------------------------------------------------------------------------

LOST_PEERS = LogEvent(
    name="lost_peers",
    level="warning",
    message="Lost contact with peers; draining Workers.",
    fields={"problem": "what failed"},
    remedy="Restore the connection to the database; Workers reconnect through the load balancer.",
)
PEER_SERVER_DEAD = LogEvent(
    name="peer_server_dead",
    level="warning",
    message="Peer Server declared dead.",
    fields={"server": "ID of the peer"},
    remedy="Restart that Server if it should run.",
)
CHANGE_FEED_UNAVAILABLE = LogEvent(
    name="change_feed_unavailable",
    level="warning",
    also_level="error",
    also_when="the failure was not expected; the line has a traceback",
    message="Changes of peer Servers cannot be read; nothing is decided from memory until they can.",
    fields={"problem": "what failed"},
    remedy="Restore the connection to the database.",
)
CHANGE_FEED_GAP = LogEvent(
    name="change_feed_gap",
    level="warning",
    message="Changes of peer Servers were removed before they were read; reloading all state.",
    remedy="If it repeats, find out why this Server is cut off from the database for so long.",
)
PEER_CHANGE_LOAD_FAILED = LogEvent(
    name="peer_change_load_failed",
    level="error",
    message="What a peer Server changed could not be loaded.",
    fields={"problem": "what failed"},
    remedy="Check the database; a traceback is a bug to report.",
)
STATE_NOT_CURRENT = LogEvent(
    name="state_not_current",
    level="warning",
    message="Requests are answered with 503, since this Server may have missed changes of its peers.",
    fields={"problem": "what failed", "left_out": "failures since the last line that were not logged"},
    remedy="Restore the connection to the database.",
)
CHANGE_NOT_APPLIED = LogEvent(
    name="change_not_applied",
    level="error",
    message="One effect of a change failed; its other effects were applied.",
    fields={"step": "name of the step"},
    remedy="Report the traceback; restart the Server to apply the change.",
)
SESSION_HANDLER_FAILED = LogEvent(
    name="session_handler_failed",
    level="error",
    message="A handler of session events failed; the others were called.",
    fields={"handler": "name of the handler"},
    remedy="Report the traceback.",
)
EVENT_FEED_FAILED = LogEvent(
    name="event_feed_failed",
    level="error",
    message="Live events could not be sent; listeners reconnect and read the list.",
    fields={"problem": "what failed"},
    remedy="See `problem`.",
)

# --- events for other systems -------------------------------------------------------------------------------

EVENT_DELIVERY_FAILED = LogEvent(
    name="event_delivery_failed",
    level="warning",
    message="Events could not be delivered to a destination; they wait in the audit log.",
    fields={
        "destination": "name of the destination",
        "problem": "what failed",
        "next_attempt_at": "time of the next attempt, ISO 8601 UTC",
        "left_out": "failures since the last line that were not logged",
    },
    remedy="See `problem`; after a repair, `lyftdata events resume NAME` tries at once.",
)
EVENT_DELIVERY_RESUMED = LogEvent(
    name="event_delivery_resumed",
    level="info",
    message="Events are delivered to a destination again.",
    fields={"destination": "name of the destination"},
)
EVENT_DELIVERY_STOPPED = LogEvent(
    name="event_delivery_stopped",
    level="error",
    message="Delivery to a destination was interrupted; it is started again within a second.",
    fields={"destination": "name of the destination", "problem": "what failed"},
    remedy="See `problem`; a traceback is a bug to report.",
)
EVENTS_LOST = LogEvent(
    name="events_lost",
    level="error",
    message="Events were removed from the audit log as too old before they were delivered to a destination.",
    fields={"destination": "name of the destination", "lost": "how many events"},
    remedy="Delete destinations that are not used any more, and keep events for longer (LYFTDATA_AUDIT_RETENTION).",
)
