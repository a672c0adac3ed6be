"""Markers of the tests in this folder."""

import os

# `make image-test` builds the images that these run.
collect_ignore = [] if os.environ.get("DIGITS_TEST_IMAGES") else ["test_images.py", "test_kube_play.py"]
