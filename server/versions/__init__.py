"""Versions of models: from the repository on disk to the registry that calls read."""
