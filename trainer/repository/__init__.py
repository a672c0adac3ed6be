"""The model repository: versions, their manifests, labels, and how a run becomes a version."""
