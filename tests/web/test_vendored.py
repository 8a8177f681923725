"""What is vendored is what was published."""

import base64
import hashlib
import json

import pytest

from api.web.render import STATIC_FOLDER
from tests.web.packages import package_file

VENDOR = STATIC_FOLDER / "vendor"
SAID = json.loads((VENDOR / "vendored.json").read_text())


def sha384(data: bytes) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode("ascii")


def test_the_bundle_is_the_one_that_is_written_down():
    assert sha384((VENDOR / SAID["bundle"]).read_bytes()) == SAID["bundle_sha384"]


def test_nothing_else_is_vendored():
    names = {path.name for path in VENDOR.iterdir()}
    assert names == {SAID["bundle"], "vendored.json", "htmx-LICENSE"}


@pytest.mark.parametrize("part", SAID["parts"], ids=lambda part: part["path"])
def test_each_part_is_the_published_file(part):
    published = package_file(SAID["package"], SAID["version"], SAID["integrity"], part["path"])
    assert sha384(published) == part["sha384"]


def test_the_bundle_holds_its_parts_in_order_and_nothing_between():
    bundle = (VENDOR / SAID["bundle"]).read_bytes()
    for part in SAID["parts"]:
        published = package_file(SAID["package"], SAID["version"], SAID["integrity"], part["path"])
        assert bundle.startswith(published)
        bundle = bundle[len(published) :].lstrip(b";\n")
    assert bundle == b""


def test_the_licence_is_the_packages_own():
    published = package_file(SAID["package"], SAID["version"], SAID["integrity"], "LICENSE")
    assert (VENDOR / "htmx-LICENSE").read_bytes() == published
