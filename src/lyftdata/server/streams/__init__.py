"""Live event streams for operators, and limits on the streams of each operator."""
