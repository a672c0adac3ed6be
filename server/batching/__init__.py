"""Concurrent callers, grouped into batches for one model."""
