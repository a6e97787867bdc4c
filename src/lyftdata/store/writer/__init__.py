"""The one writer: operations wait in its queue, and are committed in batches."""
