"""The Python client library and the command line made of it."""
