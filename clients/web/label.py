"""`digit-client label`: a page to label captured images, which moves their files.

The server's `--capture-dir` writes to FOLDER/unlabelled; a label moves a file to FOLDER/0 ... FOLDER/9 or
FOLDER/none, which `digit-trainer train --extra` reads.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clients.errors import InputError
from clients.web.serving import HEADERS, Page, WebOptions, body, json_response, refuse, serve

UNLABELLED = "unlabelled"
LABELS = (*map(str, range(10)), "none")
_SIZE = (28, 28)
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.png")
_PAGE = Page("label.html", "page.css", "label.js")
_WEB = WebOptions()


class Captured:
    """Captured images below a folder."""

    def __init__(self, folder: Path) -> None:
        """Raise InputError if there is nothing to label."""
        if not (folder / UNLABELLED).is_dir():
            raise InputError(
                f"{folder} has no folder {UNLABELLED}, expected the --capture-dir "
                "of a digit-server that has captured images"
            )
        self.folder = folder

    def images(self) -> list[dict[str, Any]]:
        """Return the answers for all unlabelled images, least confident first.

        An image that cannot be read has a `problem` instead.
        """
        found = [self._facts(path) for path in sorted((self.folder / UNLABELLED).glob("[!.]*.png"))]
        return sorted(found, key=lambda each: (each.get("why") != "uncertain", each.get("confidence", 1.0)))

    def path(self, name: str, label: str = UNLABELLED) -> Path:
        """Return the path of an image with a label. Raises InputError if the name or label is invalid."""
        if not _NAME.fullmatch(name):
            raise InputError(f"{name[:80]!r} is not the name of an image")
        if label not in {*LABELS, UNLABELLED}:
            raise InputError(f"{label[:80]!r} is not a label, expected one of {', '.join(LABELS)}")
        return self.folder / label / name

    def read(self, name: str) -> bytes | None:
        """Return the file of an image, labelled or not; None if it is gone. Raises InputError."""
        for label in (UNLABELLED, *LABELS, UNLABELLED):  # twice: it may be moved back meanwhile
            with suppress(FileNotFoundError):
                return self.path(name, label).read_bytes()
        return None

    def move(self, name: str, source: str, target: str) -> None:
        """Move an image to another label. Raises InputError if it is gone or the target exists."""
        before, after = self.path(name, source), self.path(name, target)
        try:
            after.parent.mkdir(exist_ok=True)
            os.link(before, after)  # a link never replaces a file, unlike a rename
            try:
                before.unlink()
            except FileNotFoundError:  # labelled otherwise by another program meanwhile: keep that label
                after.unlink(missing_ok=True)
                raise
        except FileNotFoundError:
            raise InputError(f"{name} is not in {source} any more: somebody else has labelled it") from None
        except OSError as error:
            raise InputError(f"{name} cannot be moved to {target}: {error.strerror}") from None

    @staticmethod
    def _facts(path: Path) -> dict[str, Any]:
        try:
            with Image.open(path) as picture:
                if picture.size != _SIZE:
                    return {"name": path.name, "problem": f"has {picture.width}x{picture.height} pixels"}
                facts = json.loads(picture.info.get("digits", "{}"))
                picture.load()
        except (OSError, ValueError) as error:
            return {"name": path.name, "problem": str(error)}
        return (facts if isinstance(facts, dict) else {}) | {"name": path.name}


def label(folder: Path, /, *, options: WebOptions = _WEB) -> int:
    """Serve the page until Ctrl-C."""
    return serve(make_app(Captured(folder)), options, "Label")


def make_app(captured: Captured) -> Starlette:
    """Return the application."""

    async def images(_: Request) -> Response:
        return json_response({"folder": str(captured.folder), "images": captured.images()})

    async def image(request: Request) -> Response:
        content = captured.read(request.path_params["name"])
        if content is None:
            return json_response({"error": "the image is gone"}, 404)
        return Response(content, media_type="image/png", headers=HEADERS)

    async def move(request: Request) -> Response:
        try:
            asked = json.loads(await body(request))
            name, source, target = (str(asked[key]) for key in ("name", "from", "to"))
        except (ValueError, KeyError, TypeError):
            raise InputError("expected an object of name, from and to") from None
        captured.move(name, source, target)
        return json_response({})

    return Starlette(
        routes=[
            Route("/", _PAGE.answer),
            Route("/images", images),
            Route("/images/{name}", image),
            Route("/move", move, methods=["POST"]),
        ],
        exception_handlers={InputError: refuse},
    )
