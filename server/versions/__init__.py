"""Which versions of which models serve: from the repository on disk to the registry that calls read."""
