"""A load generator: how fast is a server, honestly measured."""
