"""The COMMAND: started, supervised, signalled, and ended with all that it has started."""
