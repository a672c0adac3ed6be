"""Write what an image is made of, as a CycloneDX 1.6 bill of materials: one component a wheel.

    python deploy/containers/sbom.py FOLDER_OF_WHEELS > sbom.cdx.json

It has no time stamp and no serial number: the same wheels give the same file.
"""

import hashlib
import json
import re
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any


def bill_of_materials(wheels: Path) -> dict[str, Any]:
    """Return the CycloneDX document of every wheel in a folder."""
    components = [_component(path) for path in sorted(wheels.glob("*.whl"))]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": components,
    }


def _component(wheel: Path) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as archive:
        path = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        metadata = HeaderParser().parsestr(archive.read(path).decode())
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    purl = f"pkg:pypi/{name}@{metadata['Version']}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": metadata["Version"],
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }
    if expression := metadata["License-Expression"]:
        component["licenses"] = [{"expression": expression}]
    elif classifiers := _licenses(metadata.get_all("Classifier", [])):
        component["licenses"] = [{"license": {"name": classifier}} for classifier in classifiers]
    return component


def _licenses(classifiers: list[str]) -> list[str]:
    return [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]


if __name__ == "__main__":
    json.dump(bill_of_materials(Path(sys.argv[1])), sys.stdout, indent=1)
