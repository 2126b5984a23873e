"""Who may run on a thread: one run at a time, across all workers."""
