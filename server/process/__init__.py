"""Processes: a single server, or a supervisor with workers."""
