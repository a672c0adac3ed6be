"""The commands of `digit-client`, one module a subject."""
