"""virtfix identify, and the evidence options of plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli_runner import SAMPLES, Run

if TYPE_CHECKING:
    from pathlib import Path

RHEL6 = SAMPLES / "rhel6-q35-ovmf.xml"
NAMELESS = SAMPLES / "handwritten-noaddr.xml"
REPORT = (
    "<operatingsystems><operatingsystem><name>linux</name><distro>centos</distro><major_version>7</major_version>"
    "<minor_version>1</minor_version><osinfo>centos7.0</osinfo><applications><application><name>kernel</name>"
    "<version>3.10.0</version><release>{}.el7</release></application></applications></operatingsystem>"
    "</operatingsystems>"
)
MAP = "format: 1\nkind: mapping\ndomains:\n  - {match: {name: [build*]}, os: centos6.10}\n"


def test_identify_shows_the_evidence(virtfix: Run) -> None:
    done = virtfix("identify", RHEL6)
    assert done.code == 0
    assert "guest      RHEL 6.0-6.10 (CentOS and Scientific Linux 6), legacy virtio only" in done.text
    assert "the metadata (line 6) names http://redhat.com/rhel/6.10" in done.text


def test_identify_says_what_nobody_names(virtfix: Run) -> None:
    done = virtfix("identify", NAMELESS, RHEL6)
    assert done.code == 4
    assert "unknown: give --os ID, or a mapping (--os-map)" in done.text


def test_identify_as_json(virtfix: Run) -> None:
    value = json.loads(virtfix("identify", RHEL6, "--os", "fedora30", "--format", "json").out)
    assert (value["id"], value["how"]) == ("fedora30", "option")
    assert value["interface"]["value"] == "modern"
    assert value["conflicts"] == [
        f"planned as {value['name']}, but the metadata (line 6) names http://redhat.com/rhel/6.10"
    ]
    assert [item["use"] for item in value["evidence"]] == ["taken", "conflicts"]
    both = json.loads(virtfix("identify", RHEL6, NAMELESS, "--format", "json").out)
    assert [one["how"] for one in both] == ["metadata", "unknown"]


def test_a_mapping_names_guests(virtfix: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(MAP)
    done = virtfix("plan", NAMELESS, "--os-map", file, "--format", "json")
    assert json.loads(done.out)["guest"]["how"] == "mapping"
    assert f"the mapping ({file}:4) names centos6.10" in json.loads(done.out)["guest"]["evidence"][0]


@pytest.mark.parametrize(
    ("release", "interface", "status"), [("229", "legacy", "pending"), ("957", "modern", "unchanged")]
)
def test_an_inspection_decides_by_the_kernel(
    virtfix: Run, tmp_path: Path, release: str, interface: str, status: str
) -> None:
    file = tmp_path / "r.xml"
    file.write_text(REPORT.format(release))
    value = json.loads(virtfix("plan", NAMELESS, "--inspection", file, "--format", "json").out)
    assert (value["guest"]["how"], value["guest"]["interface"]) == ("inspection", interface)
    assert value["guest"]["builds"] == [f"kernel 3.10.0-{release}.el7"]
    assert value["status"] == status


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--os", "centos7", "--kernel", "5.14"), "kernel 5.14: answers for it hang on that"),
        (("--os", "win7", "--kernel", "5.14"), "kernel 5.14: nothing that is known of Windows 7"),
        (("--os-map", SAMPLES / "fleet.yaml"), "no entry of the mapping fits this domain"),
    ],
)
def test_what_decided_and_what_did_not_is_said(
    virtfix: Run, arguments: tuple[object, ...], said: str
) -> None:
    assert said in " ".join(virtfix("plan", RHEL6, *arguments).text.split())


def test_a_broken_snapshot_is_told_and_not_used(virtfix: Run, tmp_path: Path) -> None:
    place = tmp_path / "virtfix" / "osinfo.json"
    place.parent.mkdir()
    place.write_text("{")
    done = virtfix("identify", RHEL6, "--os", "zeta1", "--assume", "legacy", XDG_DATA_HOME=str(tmp_path))
    assert done.code == 0
    assert (
        done.err == f"virtfix: {place}: is no snapshot of osinfo-db; make it again by 'virtfix policy sync'\n"
    )


def test_reports_of_a_directory_are_found_by_name(virtfix: Run, tmp_path: Path) -> None:
    """A domain's name is compared with the names there: it never makes a path."""
    (tmp_path / "build6.xml").write_text(REPORT.format("229"))
    outside = tmp_path.parent / "secret.xml"
    outside.write_text(REPORT.format("229"))
    assert "the inspection report" in virtfix("identify", NAMELESS, "--inspection", tmp_path).text
    evil = NAMELESS.read_text().replace("<name>build6<", f"<name>../{outside.stem}<")
    done = virtfix("identify", "-", "--inspection", tmp_path, stdin=evil.encode())
    assert "inspection" not in done.text


def test_one_report_for_several_domains_is_refused(virtfix: Run, tmp_path: Path) -> None:
    file = tmp_path / "r.xml"
    file.write_text(REPORT.format("229"))
    done = virtfix("plan", NAMELESS, RHEL6, "--inspection", file)
    assert done.code == 2
    assert "one report can not speak for 2 domains" in done.error_line()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("plan", RHEL6, "--all"), 2, "files or domains of the connection, not both"),
        (("plan", "--all", "--domain", "x"), 2, "--domain or --all, not both"),
        (("plan", RHEL6, "--kernel", "x"), 2, "--kernel: 'x' is no version; write it as 3.10.0-327"),
        (("plan", RHEL6, "--os-map", "/nosuch"), 1, "/nosuch: can not read"),
        (
            ("plan", RHEL6, "--os-map", SAMPLES / "site.yaml"),
            1,
            "is no mapping of domains; give other policies by --policy",
        ),
        (("plan", RHEL6, "--virtio-win", "1.9.24"), 2, "--virtio-win: '1.9.24' is no version"),
        (("plan", RHEL6, "--exclude", "rhel*"), 2, "leave the file out instead"),
        (("identify", "/nosuch"), 1, "/nosuch: can not read"),
        (("plan", "--connect", "nosuch:///", "--all"), 1, "can not connect"),
    ],
)
def test_mistakes(virtfix: Run, arguments: tuple[object, ...], code: int, said: str) -> None:
    if "--connect" in arguments:
        pytest.importorskip("libvirt")
    done = virtfix(*arguments)
    assert done.code == code
    assert said in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


# --- Domains of a connection, on libvirt's own test driver --------------------------------------------

NODE = "<node><cpu><mhz>1</mhz></cpu>{}</node>"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A connection with a domain that is to change, and one that nobody names."""
    pytest.importorskip("libvirt")
    text = (
        RHEL6.read_text()
        .replace("type='kvm'", "type='test'")
        .replace("<emulator>/usr/bin/qemu-system-x86_64</emulator>", "")
    )
    plain = "<domain type='test'><name>web&lt;1</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    node = tmp_path / "node.xml"
    node.write_text(
        NODE.format(text.partition("?>")[2] or text) if text.startswith("<?") else NODE.format(text)
    )
    node.write_text(node.read_text().replace("</node>", plain + "</node>"))
    return f"test://{node}"


def test_all_domains_of_a_connection(virtfix: Run, uri: str) -> None:
    done = virtfix("plan", "--connect", uri, "--all", "--format", "json")
    assert done.code == 0, done.err
    assert [plan["domain"]["name"] for plan in json.loads(done.out)] == ["rhel6.10", "web<1"]


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--exclude", "rhel*"), ["web<1"]),
        (("--exclude", "rhel[6].10", "--exclude", "web"), ["rhel6.10", "web<1"]),  # only * is a sign
        (("--limit", "1"), ["rhel6.10"]),
        (("--limit", "1", "--exclude", "rhel*"), ["web<1"]),  # those left out do not count
        (("--exclude", "*"), []),
    ],
)
def test_plan_leaves_out_what_apply_would(
    virtfix: Run, uri: str, arguments: tuple[str, ...], left: list[str]
) -> None:
    done = virtfix("plan", "--connect", uri, "--all", "--format", "json", *arguments)
    assert done.code == 0, done.err
    value = json.loads(done.out)
    assert [plan["domain"]["name"] for plan in (value if isinstance(value, list) else [value])] == left
    assert ("virtfix: 0 domains\n" in done.err) is (not left)


@pytest.mark.parametrize("pattern", ["rhel6.10", "rhel*", "*6*"])
def test_domains_by_name_and_glob(virtfix: Run, uri: str, pattern: str) -> None:
    done = virtfix("identify", "--connect", uri, "--domain", pattern, "--format", "json")
    assert json.loads(done.out)["id"] == "rhel6.10"
    uuid = json.loads(done.out)["domain"]["uuid"]
    again = virtfix("identify", "--connect", uri, "--domain", uuid.upper(), "--format", "json")
    assert json.loads(again.out) == json.loads(done.out)


def test_a_domain_that_is_not_there(virtfix: Run, uri: str) -> None:
    done = virtfix("plan", "--connect", uri, "--domain", "rhel6.1")
    assert done.code == 1
    assert 'has no domain "rhel6.1"; did you mean rhel6.10?' in done.error_line()


def test_a_guest_that_can_not_be_asked_is_a_remark(virtfix: Run, uri: str) -> None:
    done = virtfix("identify", RHEL6, "--connect", uri, "--negotiated", "--guest-agent")
    assert done.code == 0, done.err
    assert "RHEL 6.0-6.10" in done.text
    assert "evidence" in done.text
