"""The model repository on disk: which versions of which models there are."""

from pathlib import Path

from server.errors import StartError


def models(repository: Path) -> dict[str, list[int]]:
    """List the versions of each model in `repository`, newest first.

    A model is a folder that holds at least one folder named by a positive integer; everything else,
    unfinished work in folders that start with a dot among it, is ignored.

    Raises:
        StartError: the repository cannot be read.

    """
    try:
        folders = sorted(entry for entry in repository.iterdir() if entry.is_dir())
        found = {folder.name: _versions(folder) for folder in folders if not folder.name.startswith(".")}
    except OSError as error:
        raise StartError(f"model repository {repository} cannot be read: {error.strerror}") from None
    return {name: versions for name, versions in found.items() if versions}


def _versions(folder: Path) -> list[int]:
    return sorted((int(entry.name) for entry in folder.iterdir() if _is_version(entry)), reverse=True)


def _is_version(entry: Path) -> bool:
    name = entry.name
    return name.isascii() and name.isdigit() and not name.startswith("0") and entry.is_dir()
