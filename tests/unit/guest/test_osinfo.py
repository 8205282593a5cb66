"""osinfo-db as a source: XML to records, records to verdicts, the snapshot, the archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from fixer.adapters import osinfo_db
from fixer.errors import VirtfixError
from fixer.guest import osinfo
from fixer.guest.knowledge import Knowledge
from fixer.policy.load import load

PCI = "http://pcisig.com/pci/1af4"


def os_xml(
    uri: str, short: str, *, devices: str = "", parents: str = "", more: str = "", name: str = "An OS"
) -> bytes:
    return f"""<libosinfo version="0.0.1"><os id="{uri}">
  <short-id>{short}</short-id><name>{name}</name><name xml:lang="de">Ein System</name><family>linux</family>
  {parents}<devices>{devices}</devices>{more}
  <media arch="x86_64"><variant id="x"/><iso><volume-id>x</volume-id></iso></media>
</os></libosinfo>""".encode()


def device(number: str, supported: str = "") -> str:
    return f'<device id="{PCI}/{number}"{supported}/>'


BASE = os_xml("http://x.org/x/1", "x1", devices=device("1000") + device("1001"), name="X 1")
NEXT = os_xml(
    "http://x.org/x/2",
    "x2",
    devices=device("1042") + device("1041") + device("1000", ' supported="false"'),
    parents='<derives-from id="http://x.org/x/1"/>',
    more='<firmware arch="x86_64" type="efi"/><firmware arch="i686" type="bios"/>',
)
RING = os_xml(
    "http://x.org/x/3", "x3", parents='<clones id="http://x.org/x/3"/><derives-from id="http://x.org/x/9"/>'
)
DRIVEN = os_xml(
    "http://x.org/win/1",
    "w1",
    more=f'<driver arch="x86_64" location="x">{device("1001")}{device("1042")}</driver>',
)


def snapshot(*files: bytes) -> osinfo.Snapshot:
    entries = [entry for data in files if (entry := osinfo.read_entry(data)) is not None]
    return osinfo.compile_snapshot("20990101", entries)


def test_an_os_has_what_it_derives_from_and_loses_what_it_says() -> None:
    record = snapshot(BASE, NEXT).find("x2")
    assert record is not None
    assert (record.legacy, record.modern, record.firmware) == ({"block"}, {"block", "net"}, {"efi"})
    assert record.name == "An OS"


def test_rings_and_missing_parents_end() -> None:
    record = snapshot(RING).find("http://x.org/x/3")
    assert record is not None
    assert record.virtio == frozenset()


def test_several_files_of_one_os_are_one() -> None:
    record = snapshot(BASE, os_xml("http://x.org/x/1", "x1", devices=device("1005"))).find("X1 ")
    assert record is not None
    assert record.legacy == {"block", "net", "rng"}


@pytest.mark.parametrize(
    ("files", "os_id", "interface", "block"),
    [
        ((BASE,), "x1", "legacy", "yes"),
        ((BASE, NEXT), "x2", "modern", "yes"),
        ((RING,), "x3", "legacy", "unknown"),
        ((DRIVEN,), "w1", "depends", "yes"),
    ],
)
def test_verdicts_of_osinfo_alone(files: tuple[bytes, ...], os_id: str, interface: str, block: str) -> None:
    """What is not listed is unknown, and legacy is the safe answer where nothing is."""
    guest = Knowledge(load([]), Source(snapshot(*files))).find(os_id)
    assert guest is not None
    assert (guest.interface.value, guest.drives("block").value) == (interface, block)
    assert guest.sources == {"osinfo-db": "osinfo-db 20990101"}
    assert guest.interface.where.startswith("osinfo-db 20990101: http://x.org/")


class Source:
    def __init__(self, made: osinfo.Snapshot) -> None:
        self.version = made.version
        self.record = made.find
        self.made = made


POLICY = """\
format: 1
kind: guests
family: x
sources: {s: a source}
releases:
  - name: X 1
    osinfo: [x1]
    interface: {value: modern, source: s, confidence: %s}
    drivers:
      block: {value: no, source: s, confidence: likely}
      net: {value: unknown, source: s, confidence: unknown}
"""


def merged(confidence: str, *files: bytes) -> Knowledge:
    return Knowledge(load([("p.yaml", (POLICY % confidence).encode())]), Source(snapshot(*files)))


def test_a_policy_stands_above_osinfo_and_osinfo_fills_it() -> None:
    guest = merged("likely", BASE, NEXT).complete("x1")
    assert guest is not None
    assert guest.drives("block").value == "no", "the policy's word"
    assert guest.drives("net").value == "yes", "which the policy leaves open"
    assert set(guest.sources) == {"s", "osinfo-db"}


def test_an_unsure_policy_and_osinfo_that_differs_depend() -> None:
    """The remedy that is right under both: transitional."""
    guest = merged("likely", BASE).find("x1")
    assert guest is not None
    assert guest.interface.value == "depends"
    assert "osinfo-db lists no virtio 1.0" in guest.interface.condition


@pytest.mark.parametrize(
    ("confidence", "file"),
    [("confirmed", BASE), ("likely", RING), ("likely", os_xml("http://x.org/x/1", "x1"))],
)
def test_silence_and_confirmed_facts_raise_no_doubt(confidence: str, file: bytes) -> None:
    guest = merged(confidence, file).find("x1")
    assert guest is not None
    assert guest.interface.value == "modern"


def test_other_names_of_osinfo_lead_to_the_policy() -> None:
    alias = BASE.replace(b"<short-id>x1", b"<short-id>x1</short-id><short-id>xavier")
    guest = merged("confirmed", alias).find("xavier")
    assert guest is not None
    assert (guest.name, guest.drives("block").value) == ("X 1", "no")


# --- Snapshot and files -------------------------------------------------------------------------------


def test_a_snapshot_reads_back_the_same() -> None:
    made = snapshot(BASE, NEXT, DRIVEN)
    again = osinfo.read_snapshot(made.dump(), "x")
    assert list(again.records()) == list(made.records())
    assert again.version == "20990101"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"snapshot":"virtfix-osinfo","format":2,"version":"1","records":[]}',
        b'{"snapshot":"virtfix-osinfo","format":1,"version":"1","records":[[1]]}',
        b"[" * 100000,
    ],
)
def test_what_is_no_snapshot_is_told(data: bytes) -> None:
    with pytest.raises(VirtfixError) as error:
        osinfo.read_snapshot(data, "here.json")
    assert (
        str(error.value) == "here.json: is no snapshot of osinfo-db; make it again by 'virtfix policy sync'"
    )


def folder_of(root: Path) -> Path:
    (root / "os" / "x.org" / "x-2.d").mkdir(parents=True)
    (root / "VERSION").write_text("20990101\n")
    (root / "os" / "x.org" / "x-1.xml").write_bytes(BASE)
    (root / "os" / "x.org" / "x-2.xml").write_bytes(NEXT)
    (root / "os" / "x.org" / "x-2.d" / "more.xml").write_bytes(
        os_xml("http://x.org/x/2", "xtwo", devices=device("1052"))
    )
    return root


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = folder_of(tmp_path / "osinfo")
    monkeypatch.setenv("OSINFO_SYSTEM_DIR", str(root))
    monkeypatch.setenv("OSINFO_LOCAL_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("OSINFO_USER_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return root


@pytest.mark.parametrize("os_id", ["x2", "http://x.org/x/2", "xtwo"])
def test_one_os_is_read_without_the_others(installed: Path, os_id: str) -> None:
    """By the name of its file, and by its short id where that differs; .d directories add to it."""
    source = osinfo_db.OsinfoDb()
    record = source.record(os_id)
    assert record is not None
    whole = osinfo_db.compile_path(str(installed)).find("x2")
    assert record._replace(ids=()) == whole._replace(ids=())  # type: ignore[union-attr]
    assert record.modern == {"block", "net", "input"}


@pytest.mark.parametrize(
    "os_id", ["", "zzz", "http://x.org/../x/1", "http:///x", "x" * 300, "../x-1", "x-1\0"]
)
def test_strange_ids_find_nothing(installed: Path, os_id: str) -> None:
    assert osinfo_db.OsinfoDb().record(os_id) is None


def test_a_newer_installed_database_stands_above_the_snapshot(installed: Path) -> None:
    osinfo_db.write_snapshot(osinfo.compile_snapshot("20000101", []))
    assert osinfo_db.OsinfoDb().version == "20990101"
    osinfo_db.write_snapshot(osinfo_db.compile_path(str(installed)))
    (installed / "VERSION").write_text("20980101")
    assert osinfo_db.OsinfoDb().version == "20990101"


def archive(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:xz") as made:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return str(path)


def test_the_archive_of_osinfo_db_tools(tmp_path: Path) -> None:
    made = archive(
        tmp_path / "db.tar.xz",
        {"osinfo-db-20990101/VERSION": b"20990101", "osinfo-db-20990101/os/x.org/x-1.xml": BASE},
    )
    found = osinfo_db.OsinfoDb(made)
    assert found.version == "20990101"
    assert found.record("x1") is not None


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a/os/x.org/x-1.xml": b"<libosinfo><os id='x'>"}, "not XML"),
        ({"a/os/x.org/x-1.xml": b"<!DOCTYPE x><libosinfo/>"}, "a document type is not allowed"),
        ({"a/os/x.org/x-1.xml": b" " * (5 * 1024 * 1024)}, "larger than any osinfo-db"),
        ({"a/readme": b"hello"}, "names no operating system"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(VirtfixError, match=message):
        osinfo_db.compile_path(archive(tmp_path / "db.tar.xz", members))


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2"])
def test_what_stands_between_files_is_bounded_too(tmp_path: Path, kind: str) -> None:
    """A header of 100 MB (PAX) in an archive of some kB is not read into memory."""
    path = tmp_path / "bomb.tar"
    with tarfile.open(path, kind, format=tarfile.PAX_FORMAT) as made:
        made.addfile(tarfile.TarInfo("a/README"))
        member = tarfile.TarInfo("b")
        member.pax_headers = {"comment": "x" * 100_000_000}
        made.addfile(member)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(VirtfixError, match="larger than any osinfo-db"):
        osinfo_db.compile_path(str(path))


@pytest.mark.parametrize("data", [b"", b"hello", b"\xfd7zXZ\0garbage"])
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "db.tar.xz").write_bytes(data)
    with pytest.raises(VirtfixError) as error:
        osinfo_db.compile_path(str(tmp_path / "db.tar.xz"))
    assert error.value.where.endswith("db.tar.xz")


# --- The real database, where it is installed --------------------------------------------------------

REAL = Path("/usr/share/osinfo")


@pytest.fixture(scope="module")
def real() -> osinfo.Snapshot:
    if not (REAL / "os").is_dir():
        pytest.skip("osinfo-db is not installed")
    return osinfo_db.compile_path(str(REAL))


def test_every_os_of_the_database_has_a_verdict_with_a_source(real: osinfo.Snapshot) -> None:
    from fixer.adapters import policy_files

    knowledge = Knowledge(policy_files.shipped(), Source(real))
    for record in real.records():
        for name in (record.uri, *record.ids):
            guest = knowledge.find(name)
            assert guest is not None, name
            assert guest.interface.value in {"legacy", "modern", "depends"}
            assert guest.interface.source in guest.sources, name


def test_policies_know_every_os_of_the_database_that_lists_virtio(real: osinfo.Snapshot) -> None:
    """By their short ids and by their URIs alike."""
    from fixer.adapters import policy_files

    policies = policy_files.shipped()
    for record in real.records():
        if record.virtio:
            found = {name: policies.find(name) for name in (record.uri, *record.ids)}
            assert all(found.values()), found
            assert len({guest.name for guest in found.values() if guest}) == 1, found


def test_one_by_one_is_the_same_as_the_whole(real: osinfo.Snapshot) -> None:
    folders = osinfo_db.Folders([REAL])
    for name in (
        "rhel6.9",
        "win7",
        "sles11sp3",
        "debianwheezy",
        "fedora-rawhide",
        "ubuntu16.04",
        "freebsd9.0",
    ):
        assert folders.find(name) == real.find(name), name
