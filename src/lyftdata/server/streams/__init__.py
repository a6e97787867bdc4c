"""What operators follow live: the events, and how many streams each operator may hold."""
