"""What is shipped: wheel and archive install and work far from the checkout; RPM and Debian package are built."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from fixer import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHARED = {
    "share/bash-completion/completions/virtfix": "completions/virtfix.bash",
    "share/zsh/site-functions/_virtfix": "completions/_virtfix",
    "share/fish/vendor_completions.d/virtfix.fish": "completions/virtfix.fish",
    **{f"share/man/man1/{path.name}": f"man/{path.name}" for path in (ROOT / "man").glob("*.1")},
}
POLICIES = sorted(path for path in (ROOT / "policies").rglob("*") if path.is_file())
BACKEND = {
    "build", "hatchling", "installer", "packaging", "pathspec", "pluggy", "pyproject_hooks", "tomlkit",
    "tomli", "trove_classifiers",
}  # fmt: skip

# Fresh environments, packages: one after the other in one process.
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("packaging")]


def lacking(reason: str) -> None:
    """Skip, or fail where nothing may be missing."""
    (pytest.fail if os.environ.get("VIRTFIX_REQUIRE_REAL") else pytest.skip)(reason)


def run(*command: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program that knows nothing of this checkout."""
    keep = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_CONFIG_FILE",
    )
    environment = {name: os.environ[name] for name in keep if name in os.environ} | more
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def copy_of_the_sources(target: Path) -> Path:
    """Copy what is worked on, so that no build writes into the checkout."""
    left_out = shutil.ignore_patterns(
        ".*cache*", ".git", ".venv", "__pycache__", "build", "dist", ".hypothesis"
    )
    return Path(shutil.copytree(ROOT, target, ignore=left_out))


def backend(python: Path, built: Path, kind: str, source: Path) -> None:
    """Build by the backend itself, without a tool and without a network."""
    code = f"import hatchling.build as b, sys; print(b.build_{kind}(sys.argv[1]))"
    run(python, "-c", code, str(built), cwd=source, SOURCE_DATE_EPOCH="1700000000")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the archive, and the wheel that was built from what is in the archive."""
    if importlib.util.find_spec("hatchling") is None:
        lacking("hatchling is not installed: pip install '.[packaging]'")
    folder = tmp_path_factory.mktemp("built")
    backend(Path(sys.executable), folder, "sdist", copy_of_the_sources(folder / "sources"))
    archive = folder / f"virtfix-{__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    backend(Path(sys.executable), folder, "wheel", folder / f"virtfix-{__version__}")
    return {
        "archive": archive,
        "wheel": next(folder.glob("*.whl")),
        "unpacked": folder / f"virtfix-{__version__}",
    }


@pytest.fixture(scope="module")
def prefix(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new virtual environment with the wheel; what it needs is lent by this one, so no network is."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    )
    run(*pip, built["wheel"], cwd=folder.parent)
    own = next((folder / "lib").glob("python3*/site-packages"))
    lent = folder / "lent"
    lent.mkdir()
    for package in Path(str(importlib.util.find_spec("lxml").origin)).parents[1].iterdir():  # type: ignore[union-attr]
        # Not the editable virtfix of this environment: that would be the checkout again.
        if "virtfix" not in package.name and package.suffix != ".pth" and package.name != "__pycache__":
            (lent / package.name).symlink_to(package)
    (own / "lent.pth").write_text(f"{lent}\n")
    return folder


def test_the_wheel_holds_all(built: dict[str, Path]) -> None:
    """Code, policies, man pages, completions and licence, byte for byte; nothing of tests or caches."""
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
        for path, source in SHARED.items():
            name = f"virtfix-{__version__}.data/data/{path}"
            assert wheel.read(name) == (ROOT / source).read_bytes(), source
        for policy in POLICIES:
            name = f"fixer/policies/{policy.relative_to(ROOT / 'policies')}"
            assert wheel.read(name) == policy.read_bytes(), name
        licence = f"virtfix-{__version__}.dist-info/licenses/LICENSE"
        assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    code = {str(p.relative_to(ROOT)) for p in (ROOT / "fixer").rglob("*") if p.is_file() and "__pycache__" not in p.parts}  # fmt: skip
    assert code <= names
    top = {name.partition("/")[0] for name in names}
    assert top == {"fixer", f"virtfix-{__version__}.data", f"virtfix-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_archive_builds_itself(built: dict[str, Path]) -> None:
    """The archive has what packages, pages and tests are made of."""
    wanted = (
        "pyproject.toml",
        "LICENSE",
        "mkdocs.yml",
        "Makefile",
        "docs/generate_man.py",
        "packaging/virtfix.spec",
    )
    for name in (
        *wanted,
        "packaging/debian/rules",
        "tests/test_readme.py",
        "samples/site.yaml",
        ".ci/setup.sh",
    ):
        assert (built["unpacked"] / name).is_file(), name


def test_the_same_sources_give_the_same_bytes(built: dict[str, Path], tmp_path: Path) -> None:
    """A second build, in another folder, is the same wheel and the same archive."""
    source = tmp_path / "elsewhere"
    shutil.copytree(built["unpacked"], source)
    for kind in ("sdist", "wheel"):
        backend(Path(sys.executable), tmp_path, kind, source)
    for name in ("archive", "wheel"):
        again = (tmp_path / built[name].name).read_bytes()
        assert hashlib.sha256(again).digest() == hashlib.sha256(built[name].read_bytes()).digest(), name


def test_the_installed_command(prefix: Path, tmp_path: Path) -> None:
    """virtfix works from the wheel, with its own policies, in a folder that is not the checkout."""
    virtfix = prefix / "bin" / "virtfix"
    assert run(virtfix, "--version", cwd=tmp_path).stdout == f"virtfix {__version__}\n"
    shutil.copy(ROOT / "samples" / "rhel6-q35-ovmf.xml", tmp_path / "vm.xml")
    assert "6 devices to change" in run(virtfix, "plan", "vm.xml", cwd=tmp_path).stdout
    assert "RHEL 6" in run(virtfix, "policy", "show", "rhel6.9", cwd=tmp_path).stdout
    where = run(prefix / "bin" / "python", "-c", "import fixer; print(fixer.__file__)", cwd=tmp_path).stdout
    assert where.startswith(str(prefix)), where


def test_what_stands_beside_it(prefix: Path) -> None:
    """Man pages and completions are where a prefix has them, and man finds them there."""
    for path in SHARED:
        assert (prefix / path).is_file(), path
    if shutil.which("man") is None:
        lacking("man is not installed")
    shown = run("man", "-M", prefix / "share" / "man", "virtfix-plan", cwd=prefix, MANPAGER="cat").stdout
    assert "--detailed-exitcode" in re.sub(".\b", "", shown)


# --- Packages of distributions --------------------------------------------------------------------------


def test_versions_agree() -> None:
    """Spec, Debian changelog and project have one version, and Debian's dependencies are the project's."""
    spec = (ROOT / "packaging" / "virtfix.spec").read_text()
    assert re.search(r"(?m)^Version: +(\S+)$", spec)[1] == __version__  # type: ignore[index]
    assert (ROOT / "packaging" / "debian" / "changelog").read_text().startswith(f"virtfix ({__version__}-")
    control = (ROOT / "packaging" / "debian" / "control").read_text()
    section = control.partition("\nDepends:\n")[2].partition("\nRecommends:")[0]
    wanted = set()
    for dependency in PROJECT["dependencies"]:
        name, bounds = re.fullmatch(r"([\w-]+)(.*)", dependency).groups()  # type: ignore[union-attr]
        package = {"PyYAML": "yaml"}.get(name, name)
        for sign, number in re.findall(r"(>=|<)([\d.]+)", bounds):
            wanted.add(f"python3-{package} ({sign.replace('<', '<<')} {number})")
    assert set(re.findall(r"python3-\w+ \([^)]*\)", section)) == wanted


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkout's copy in which packaging/build.sh has built all that this machine can."""
    place = copy_of_the_sources(tmp_path_factory.mktemp("packages") / "virtfix")
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("installer") is None:
        lacking("the build backend is not installed: pip install '.[packaging]'")
    # The backend of this environment in place of one from a network.
    ready = place / "build" / "backend"
    ready.mkdir(parents=True)
    site = Path(str(importlib.util.find_spec("hatchling").origin)).parents[1]  # type: ignore[union-attr]
    for path in site.iterdir():  # packages, and the folders that say that they are installed
        if path.name.partition("-")[0] in BACKEND:
            (ready / path.name).symlink_to(path)
    (ready / ".ready").touch()
    told = run("sh", "packaging/build.sh", cwd=place, PYTHON=sys.executable).stdout
    assert "build: dist/" in told
    return place


def unpacked(packages: Path, pattern: str, needs: tuple[str, ...], how: str, target: Path) -> Path:
    missing = [tool for tool in needs if shutil.which(tool) is None]
    if missing:
        lacking(f"{', '.join(missing)}: not installed")
    found = list((packages / "dist").glob(pattern))
    assert len(found) == 1, found
    target.mkdir()
    run("sh", "-c", how, "sh", found[0], cwd=target)
    return target


def check_package(root: Path, zsh: str) -> None:
    """The package has all files, and its command works with the modules that this environment lends."""
    for path in {*SHARED} - {"share/zsh/site-functions/_virtfix"} | {zsh}:
        assert list((root / "usr").glob(f"{path}*")), path
    modules = next((root / "usr" / "lib").glob("python3*/*-packages"))
    site = Path(str(importlib.util.find_spec("lxml").origin)).parents[1]  # type: ignore[union-attr]
    command = (root / "usr" / "bin" / "virtfix").read_text()
    assert command.splitlines()[0].startswith("#!/usr/bin/python3")
    sample = ROOT / "samples" / "rhel6-q35-ovmf.xml"
    done = run(
        sys.executable, root / "usr" / "bin" / "virtfix", "plan", sample, cwd=root, PYTHONPATH=f"{modules}:{site}"
    )  # fmt: skip
    assert "6 devices to change" in done.stdout


def test_rpm(packages: Path, tmp_path: Path) -> None:
    """rpmbuild makes a package of the spec."""
    root = unpacked(
        packages, "*.noarch.rpm", ("rpmbuild", "rpm2cpio", "cpio"), 'rpm2cpio "$1" | cpio -id --quiet', tmp_path / "r"
    )  # fmt: skip
    check_package(root, "share/zsh/site-functions/_virtfix")


def test_deb(packages: Path, tmp_path: Path) -> None:
    """dpkg-buildpackage makes a package of packaging/debian."""
    needs = ("dpkg-buildpackage", "dh", "pybuild", "dh_python3", "dpkg-deb")
    root = unpacked(packages, "*.deb", needs, 'dpkg-deb -x "$1" .', tmp_path / "d")
    check_package(root, "share/zsh/vendor-completions/_virtfix")
