"""
One Server as several processes on one host: a supervisor, and what each process says to it.

    supervisor      binds the address, forks the processes, starts again those that end, speaks to systemd; touches no state
    process         a Server of its own on the shared database, which accepts connections from the socket it has inherited

Each process has one line to the supervisor (`channel`), on which both send `messages`. Signals go to the supervisor alone:
systemd and terminals send them to every process, and a process that heeded them too would count each twice.
"""
