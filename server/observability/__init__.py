"""Metrics, logs, traces and the metrics port."""
