# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The tests that transformers keeps for its own models, as they come with the installed version.

They are not in the wheel but in the source distribution, so that is fetched from the package index that pip is set up
for, and its `tests/` kept outside the repository, by version:

    python tests/conformance/upstream.py
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers

# The package that the unpacked files make up; `tests` would be mistaken for our own.
PACKAGE = "transformers_tests"

# What the common tests import, and the source distribution leaves out: it holds the files of `tests/` alone, none of
# its folders. None of it concerns us: our models generate no text, read nothing from URLs, and are exported by our own
# tests; the common fields are read for configurations without sub-configs alone.
STAND_INS = {
    "__init__.py": "",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "../fetch_hub_objects_for_ci.py": "def url_to_local_path(url, *args, **kwargs):\n    return url\n",
}


def folder() -> Path:
    """Where the tests of the installed transformers are kept; put it on `sys.path` to import `transformers_tests`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "timesclip_hf" / f"transformers-{transformers.__version__}"


def is_there() -> bool:
    """Whether `fetch` has been here before."""
    return (folder() / PACKAGE / "test_modeling_common.py").exists()


def fetch() -> None:
    """Downloads the source distribution of the installed transformers and keeps its tests."""
    version = transformers.__version__
    with tempfile.TemporaryDirectory() as download:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        subprocess.run([*pip, f"transformers=={version}", "--dest", download], check=True)
        [archive] = Path(download).glob("transformers-*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(download, filter="data")
        tests = Path(download) / f"transformers-{version}" / "tests"
        for file in tests.glob("*.py"):  # the file that tells that all are there comes last
            if file.name != "test_modeling_common.py":
                _write(file.name, file.read_text())
        for name, text in STAND_INS.items():
            _write(name, text)
        _write("test_modeling_common.py", (tests / "test_modeling_common.py").read_text())


def _write(name: str, text: str) -> None:
    path = folder() / PACKAGE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    if not is_there():
        fetch()
    print(folder())
