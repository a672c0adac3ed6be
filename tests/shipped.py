"""The model `digits` that comes with the server."""

from server.settings import SHIPPED_REPOSITORY

# The folder of its newest version.
SHIPPED_DIGITS = max((SHIPPED_REPOSITORY / "digits").glob("[0-9]*"), key=lambda folder: int(folder.name))
