"""The model repository: versions, manifests, labels, publishing."""
