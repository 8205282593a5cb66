"""What an owner needs in the guest where names change: files to put there, and what each is for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixer.conversion.forecast import Name
    from fixer.planning.plan import Plan

_MAC = re.compile(r"interface\[((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\]")


def fixups(plan: Plan) -> dict[str, str]:
    """Return the texts by file name; {} where the guest notices nothing that a file could mend.

    Names are made of what virtfix itself derives (ens3, a MAC address): nothing of the domain's own text.
    """
    changed = [name for name in plan.forecast if name.changes]
    files: dict[str, str] = {}
    nics = [
        (found[1], name) for name in changed if name.kind == "nic" and (found := _MAC.fullmatch(name.device))
    ]
    if plan.family == "windows":
        if plan.forecast:
            files |= _windows()
    elif nics and nics[0][1].rule == "systemd-path":
        files |= _systemd(nics, plan.family)
    elif nics and nics[0][1].rule == "kernel-order":
        files["70-persistent-net.rules"] = "".join(_rules(nics))
    disks = [name for name in changed if name.kind == "disk" and name.before.startswith("/dev/")]
    if disks:
        files["disks.txt"] = "".join(_disks(disks))
    if any(item.code == "initramfs" for item in plan.consequences):
        files["initramfs.txt"] = _INITRAMFS
    if files:
        files["README.txt"] = "".join(_readme(files))
    return files


def _systemd(nics: list[tuple[str, Name]], family: str) -> dict[str, str]:
    files = {
        f"10-virtfix-{name.before}.link": f"[Match]\nMACAddress={mac}\n\n[Link]\nName={name.before}\n"
        for mac, name in nics
    }
    if family == "ubuntu":
        files["60-virtfix.yaml"] = "network:\n  version: 2\n  ethernets:\n" + "".join(
            f"    {name.before}:\n      match:\n        macaddress: '{mac}'\n      set-name: {name.before}\n"
            for mac, name in nics
        )
    if family in {"rhel", "fedora"}:
        for mac, name in nics:
            files[f"ifcfg-{name.before}.add"] = f"HWADDR={mac}\nDEVICE={name.before}\n"
    return files


def _rules(nics: list[tuple[str, Name]]) -> Iterator[str]:
    for mac, name in nics:
        yield (
            f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{mac}", '
            f'ATTR{{type}}=="1", KERNEL=="eth*", NAME="{name.before}"\n'
        )


def _disks(disks: list[Name]) -> Iterator[str]:
    yield "# The guest's name of a disk before, and after. Look for the old ones in /etc/fstab,\n"
    yield "# the boot loader's configuration (root=, resume=), /etc/crypttab and scripts.\n"
    for name in disks:
        after = "/dev/sr0 or the next one" if name.after == "/dev/srN" else name.after
        yield f"{name.before} {after}\n"


def _windows() -> dict[str, str]:
    return {"before.ps1": _BEFORE, "after.ps1": _AFTER}


_BEFORE = r"""# Run as administrator while the old machine still runs: saves the IP settings of each adapter by its MAC address.
$file = "$env:SystemDrive\virtfix-network.xml"
Get-WmiObject Win32_NetworkAdapterConfiguration -Filter "IPEnabled=TRUE" |
    Select-Object MACAddress, DHCPEnabled, IPAddress, IPSubnet, DefaultIPGateway, DNSServerSearchOrder |
    Export-Clixml $file
if (Get-Command Get-Disk -ErrorAction SilentlyContinue) {
    Get-Disk | Where-Object { -not $_.IsOffline } | Select-Object Signature, Guid, SerialNumber |
        Export-Clixml "$env:SystemDrive\virtfix-disks.xml"
}
Write-Output "saved $file"
"""
_AFTER = r"""# Run as administrator after the first start on the new machine: gives static addresses back, and brings those
# disks online that were online before: what is offline on purpose, as a shared disk, stays so.
$file = "$env:SystemDrive\virtfix-network.xml"
foreach ($old in Import-Clixml $file) {
    if ($old.DHCPEnabled) { continue }
    $new = Get-WmiObject Win32_NetworkAdapterConfiguration | Where-Object { $_.MACAddress -eq $old.MACAddress }
    if ($null -eq $new -or -not $new.DHCPEnabled) { continue }
    $four = for ($i = 0; $i -lt $old.IPAddress.Count; $i++) { if ($old.IPAddress[$i] -notmatch ':') { $i } }
    [void]$new.EnableStatic(@($four | ForEach-Object { $old.IPAddress[$_] }), @($four | ForEach-Object { $old.IPSubnet[$_] }))
    if ($old.DefaultIPGateway) { [void]$new.SetGateways(@($old.DefaultIPGateway | Where-Object { $_ -notmatch ':' })) }
    if ($old.DNSServerSearchOrder) { [void]$new.SetDNSServerSearchOrder($old.DNSServerSearchOrder) }
    Write-Output "$($old.MACAddress): $($old.IPAddress)"
}
if (Get-Command Get-Disk -ErrorAction SilentlyContinue) {
    foreach ($old in Import-Clixml "$env:SystemDrive\virtfix-disks.xml") {
        Get-Disk | Where-Object { $_.IsOffline -and $_.Signature -eq $old.Signature -and $_.Guid -eq $old.Guid } |
            Set-Disk -IsOffline $false
    }
} else {
    Write-Output "Look for disks that came up offline: diskpart, 'list disk'. Online those that were online before:"
    Write-Output "'select disk N', 'online disk'. Leave disks that other machines share as they are."
}
"""
_INITRAMFS = """\
# In the guest, before the conversion, for each kernel that may boot (virtio_blk instead, where disks become virtio):
# RHEL 6 and later, Fedora, SLES 12 and later
dracut --force --add-drivers ahci /boot/initramfs-KERNEL.img KERNEL
# RHEL 5
mkinitrd -f --with=ahci /boot/initrd-KERNEL.img KERNEL
# SLES 10 and 11: add ahci to INITRD_MODULES in /etc/sysconfig/kernel, then
mkinitrd
# Debian, Ubuntu: add ahci to /etc/initramfs-tools/modules, then
update-initramfs -u -k all
# FreeBSD and others: look into /etc/fstab for the old disk names (ad0, wd0) and use labels
"""
_PURPOSE = (
    ("initramfs.txt", "before: how to put the driver of the new disk controller into the initramfs"),
    (
        ".link",
        "before: put it into /etc/systemd/network/, make the initramfs again: the NIC keeps its old name",
    ),
    (
        ".yaml",
        "before: put it into /etc/netplan/ beside the configuration that is there, then netplan generate",
    ),
    (".add", "before: add these lines to the ifcfg file of that name in /etc/sysconfig/network-scripts/"),
    (".rules", "before: put it into /etc/udev/rules.d/: the NIC keeps its old name"),
    ("disks.txt", "disks that the kernel names otherwise; nothing to do where UUID=, LABEL= or LVM is used"),
    ("before.ps1", "run it in the guest before the conversion"),
    ("after.ps1", "run it in the guest after the first start"),
)


def _readme(files: dict[str, str]) -> Iterator[str]:
    yield "What this guest needs because names change.\n\n"
    for name in sorted(files):
        purpose = next(text for ending, text in _PURPOSE if name.endswith(ending))
        yield f"{name}: {purpose}\n"
