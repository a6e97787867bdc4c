"""The only writer: operations wait in its queue, and are committed in batches."""
