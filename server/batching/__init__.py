"""Dynamic batching: concurrent calls share runs of a model."""
