"""Moves of captured images between the folders that are their labels."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from clients.errors import InputError
from clients.web.label import Captured


def capture(folder: Path, name: str, confidence: float, why: str = "uncertain") -> None:
    (folder / "unlabelled").mkdir(exist_ok=True)
    facts = PngImagePlugin.PngInfo()
    facts.add_text("digits", json.dumps({"digit": 7, "confidence": confidence, "why": why}))
    Image.new("L", (28, 28)).save(folder / "unlabelled" / name, pnginfo=facts)


@pytest.fixture
def captured(tmp_path: Path) -> Captured:
    capture(tmp_path, "a.png", 0.7)
    capture(tmp_path, "b.png", 0.2)
    capture(tmp_path, "c.png", 0.99, "sample")
    return Captured(tmp_path)


def names(captured: Captured) -> list[str]:
    return [image["name"] for image in captured.images()]


def test_least_sure_come_first_and_samples_last(captured: Captured) -> None:
    assert names(captured) == ["b.png", "a.png", "c.png"]
    assert captured.images()[0] == {"name": "b.png", "digit": 7, "confidence": 0.2, "why": "uncertain"}


def test_label_is_a_move_and_undo_moves_back(captured: Captured) -> None:
    captured.move("a.png", "unlabelled", "7")
    assert (captured.folder / "7" / "a.png").is_file()
    assert names(captured) == ["b.png", "c.png"]
    captured.move("a.png", "7", "unlabelled")
    assert names(captured) == ["b.png", "a.png", "c.png"]
    assert not list((captured.folder / "7").iterdir())


def test_image_can_be_shown_while_its_label_is_on_its_way(captured: Captured) -> None:
    content = captured.read("a.png")
    captured.move("a.png", "unlabelled", "7")
    assert content is not None
    assert captured.read("a.png") == content
    assert captured.read("gone.png") is None


def test_nothing_is_overwritten(captured: Captured) -> None:
    (captured.folder / "7").mkdir()
    (captured.folder / "7" / "a.png").write_bytes(b"another")
    with pytest.raises(InputError, match=r"a\.png cannot be moved to 7: File exists"):
        captured.move("a.png", "unlabelled", "7")
    assert (captured.folder / "7" / "a.png").read_bytes() == b"another"
    assert "a.png" in names(captured)


def test_two_programs_leave_one_label(captured: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_late(before: Path, after: Path) -> None:
        link(before, after)
        before.rename(captured.path("a.png", "1"))

    (captured.folder / "1").mkdir()
    monkeypatch.setattr(os, "link", link_late)
    with pytest.raises(InputError, match=r"a\.png is not in unlabelled any more"):
        captured.move("a.png", "unlabelled", "7")
    assert [path.parent.name for path in captured.folder.rglob("a.png")] == ["1"]


def test_image_that_another_person_labelled_is_named(captured: Captured) -> None:
    captured.move("a.png", "unlabelled", "1")
    with pytest.raises(InputError, match=r"a\.png is not in unlabelled any more"):
        captured.move("a.png", "unlabelled", "7")


@pytest.mark.parametrize("name", ["../a.png", "a/b.png", ".a.png", "a.txt", "", "..png/../x.png"])
def test_name_that_leads_elsewhere_is_refused(captured: Captured, name: str) -> None:
    with pytest.raises(InputError, match="is not the name of an image"):
        captured.move(name, "unlabelled", "7")


@pytest.mark.parametrize("label", ["..", "10", "", "7/../..", "x"])
def test_label_that_is_none_is_refused(captured: Captured, label: str) -> None:
    with pytest.raises(InputError, match="is not a label, expected one of 0, 1, 2"):
        captured.move("a.png", "unlabelled", label)


def test_images_that_cannot_be_read_are_named(captured: Captured) -> None:
    folder = captured.folder / "unlabelled"
    (folder / "d.png").write_bytes(b"no picture")
    Image.new("L", (30, 28)).save(folder / "e.png")
    (folder / ".f.png.12").write_bytes(b"being written")
    problems = {image["name"]: image["problem"] for image in captured.images() if "problem" in image}
    assert problems["e.png"] == "has 30x28 pixels"
    assert "cannot identify image file" in problems["d.png"]
    assert len(captured.images()) == 5


def test_image_of_another_program_has_no_answer(captured: Captured) -> None:
    Image.new("L", (28, 28)).save(captured.folder / "unlabelled" / "d.png")
    assert captured.images()[-1] == {"name": "d.png"}


def test_folder_without_captured_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="has no folder unlabelled, expected the --capture-dir of a digit-server"
    ):
        Captured(tmp_path)
