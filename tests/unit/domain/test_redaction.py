"""Secrets give way to a mark, and nothing else does."""

from __future__ import annotations

import pytest

from fixer.domain.redaction import MARK, redact


@pytest.mark.parametrize(
    "text",
    [
        "<graphics type='vnc' port='-1' passwd='hunter2'/>",
        '<graphics type="spice" passwd="hunter2" passwdValidTo="2027-01-01T00:00:00"/>',
        "<qemu:env name='VNC_PASSWORD' value='hunter2'/>",
        "<qemu:env value='hunter2' name='API_KEY'/>",
        "<qemu:arg value='secret,id=s0,data=hunter2'/>",
        "<qemu:arg value='secret,id=s0,format=raw,data=hunter2,qom-type=x'/>",
        "<qemu:arg value='isa-applesmc,osk_secret=hunter2'/>",
        "<qemu:arg value='-chardev'/><qemu:arg value='socket,password=hunter2,host=x'/>",
        "<qemu:arg value='{&quot;password&quot;:&quot;hunter2&quot;}'/>",
        """<qemu:arg value='{"private-key": "hunter2"}'/>""",
        "<q:arg value='token=hunter2'/>",
        "<qemu:arg value='hunter2hunter2hunter2hunter2hunter2abc'/>",
        "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='hunter2hunter2hunter2hunter2hunter2abc'/>",
        "<source protocol='https' name='x?a=1&amp;token=hunter2&amp;b=2'/>",
        "<source protocol='https' name='x' query='access_key=hunter2'/>",
        "<my:password>hunter2</my:password>",
        "<my:password>\n  hunter2\n</my:password>",
        "<cookies><cookie name='sess'>hunter2</cookie></cookies>",
        "<qemu:arg value='driver=https,file.cookie=hunter2'/>",
        "<app:apiToken kind='x'>hunter2</app:apiToken>",
        "<cmdline>console=ttyS0 ks=http://u:hunter2@host/ks.cfg quiet</cmdline>",
        "<cmdline>console=ttyS0 rootpw=hunter2\nquiet</cmdline>",
        "<cmdline>inst.sshpw=hunter2</cmdline>",
        "<source protocol='rbd' name='pool/img:id=admin:key=hunter2==:auth_supported=cephx'/>",
        "<source protocol='https' name='x'><host name='https://u:hunter2@host/'/></source>",
        "<sysinfo type='fwcfg'><entry name='opt/com.example/password'>hunter2</entry></sysinfo>",
        "<qemu:arg value='name=opt/com.example/x,string=hunter2'/>",
        "<graphics passwd" + " " * 40 + "=" + " " * 40 + "'hunter2'/>",
        "<graphics passwd" + "x" * 400 + "='hunter2'/>",
        "<graphics " + "x" * 400 + ".passwd='hunter2'/>",
        "<qemu:arg value='--fw-password=hunter2'/>",
        "-    <graphics passwd='hunter2'>\n+    <graphics passwd='hunter2' x='y'>",
    ],
)
def test_secrets_are_marked(text: str) -> None:
    marked = redact(text)
    assert "hunter2" not in marked
    assert marked.count("\n") == text.count("\n"), "lines stay lines"
    assert MARK in marked


@pytest.mark.parametrize(
    "text",
    [
        "<disk type='network'><auth username='libvirt'><secret type='ceph' usage='pool'/></auth></disk>",
        "<encryption format='luks'><secret type='passphrase' uuid='c2f0b4d5-9a0e-4b6e-8c11-0d9a3c5e7f10'/></encryption>",
        "<encryption>\n  <secret type='passphrase' uuid='c2f0b4d5-9a0e-4b6e-8c11-0d9a3c5e7f10'/>\n</encryption>",
        "<cookies>\n  <cookie name='a'/>\n</cookies>",
        "<input type='keyboard' bus='virtio'/>",
        "<graphics type='vnc' port='-1' autoport='yes' keymap='de'/>",
        "<qemu:arg value='-global'/><qemu:arg value='virtio-blk-pci.disable-legacy=off'/>",
        "<qemu:property name='disable-legacy' type='string' value='off'/>",
        "<cmdline>console=ttyS0 root=/dev/vda1 quiet ks=http://host:80/ks@7.cfg</cmdline>",
        "<entry name='opt/com.example/name'>value</entry>",
        "<source protocol='rbd' name='pool/img:id=admin:mon_host=a'/>",
        "<source file='https://user@host:8080/disk'/>",
        "<qemu:arg value='name=opt/com.example/x,file=/etc/x'/>",
        "<uuid>2f0b4d5c-9a0e-4b6e-8c11-0d9a3c5e7f10</uuid>",
        "<source file='/var/lib/libvirt/images/a-very-long-name-of-an-image-0123456789.qcow2'/>",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_marking_twice_changes_nothing_more() -> None:
    once = redact("<graphics passwd='x'/><qemu:arg value='secret,data=abc,password=d'/>")
    assert redact(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "passwd='" * 20_000,
        "<qemu:arg " * 20_000,
        "token=" + "a" * 200_000,
        "name='key" * 20_000,
        "secret" * 30_000 + "<>",
        "secret." * 30_000 + "=x",
        "secret" + " " * 200_000 + "<",
        "a-" * 50_000 + "secret=",
        "<entry name='" * 20_000,
        "<entry " + "name='" * 20_000 + "secret",
        "a." * 50_000 + "://x:y@",
        "x://" * 50_000 + "a:b@",
        "x://" + "a" * 200_000 + ":b@",
        ":key=" * 50_000,
        "<cmdline>" * 20_000,
        "<qemu:arg value='" + "name=opt/" * 20_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_costs_little(text: str) -> None:
    """Linear enough: each of these took minutes with a careless pattern."""
    redact(text)
