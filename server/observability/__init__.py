"""Metrics, logs, traces and the HTTP port that shows them."""
