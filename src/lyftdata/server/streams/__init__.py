"""What operators follow live: events, and limits on the streams of each operator."""
