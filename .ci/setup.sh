#!/bin/sh
# Makes a machine ready for one goal and says each thing it does in one line.
#
#   sh .ci/setup.sh demo    a Python >= 3.11 and a virtual environment with virtfix
#   sh .ci/setup.sh docs    the same with what builds the site
#   sh .ci/setup.sh lint    the same with the linters and the type checker
#   sh .ci/setup.sh test    the same with the tests, and the system packages that they need
#
# As root on Debian or Ubuntu it installs what is missing. Elsewhere it names what is missing as that
# system calls it, and stops. A second run finds everything in place and changes nothing.
set -eu

goal=${1:-}
case $goal in
demo) extras='' ;;
docs) extras='[docs]' ;;
lint) extras='[lint]' ;;
# tests/architecture runs import-linter, tests/packaging builds the site and the packages
test) extras='[test,lint,docs,packaging]' ;;
*)
    echo "usage: $0 demo|docs|lint|test" >&2
    exit 2
    ;;
esac

cd "$(dirname "$0")/.."
venv=.venv
python=

say() { echo "set-up: $*"; }
fail() {
    echo "set-up: $*" >&2
    exit 1
}

# --- Python -----------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
# Debian ships venv without ensurepip, which is in python3-venv.
makes_environments() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }
# libvirt-python is compiled against these headers.
has_headers() {
    "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' >/dev/null 2>&1
}

# The newest is last on purpose: the system's own python3 is the one its packages are made for.
candidates='python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3'

find_python() {
    python=
    for candidate in $candidates; do
        if is_new_enough "$candidate" && makes_environments "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    return 1
}

# Prints a Python that is new enough though it cannot make environments yet, or nothing.
bare_python() {
    for candidate in $candidates; do
        if is_new_enough "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
}

# --- System packages --------------------------------------------------------------------------------

system() {
    for tool in apt-get dnf zypper pacman; do
        if command -v "$tool" >/dev/null 2>&1; then
            echo "$tool"
            return 0
        fi
    done
    echo other
}

# What the tests need beside Python: a compiler and headers for libvirt-python, libvirt's QEMU driver,
# QEMU with its firmware, and what a guest's initramfs is made of.
packages_for_tests() {
    case $1 in
    apt-get)
        echo gcc libc6-dev pkg-config libvirt-dev libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients \
            qemu-system-x86 qemu-utils ovmf seabios osinfo-db busybox-static cpio
        # For tests/packaging, which elsewhere leaves out what it can not do: packages, man pages, shells.
        echo rpm debhelper dh-python pybuild-plugin-pyproject python3-all man-db mandoc shellcheck fish zsh
        # For the page of virtfix report; what Ubuntu calls by that name is a snap.
        grep -q '^ID=debian' /etc/os-release && echo chromium
        # The driver refuses to load, for root at least, where the user of this name is missing, and in
        # Debian 12 it is the daemon's package that makes it.
        getent passwd libvirt-qemu >/dev/null || echo libvirt-daemon-system
        ;;
    dnf)
        # Fedora splits QEMU by target; RHEL and its rebuilds have qemu-kvm, and no busybox.
        if grep -q '^ID=fedora' /etc/os-release 2>/dev/null; then
            echo qemu-system-x86 busybox
        else
            echo qemu-kvm
        fi
        echo gcc pkgconf-pkg-config libvirt-devel libvirt-daemon-driver-qemu libvirt-client qemu-img \
            edk2-ovmf seabios-bin osinfo-db cpio
        ;;
    zypper)
        echo gcc pkg-config libvirt-devel libvirt-daemon-driver-qemu libvirt-client qemu-x86 qemu-tools \
            qemu-ovmf-x86_64 qemu-seabios osinfo-db busybox-static cpio
        ;;
    pacman) echo gcc pkgconf libvirt qemu-system-x86 qemu-img edk2-ovmf seabios osinfo-db busybox cpio ;;
    other)
        # No package names are known here, so the commands stand for them.
        echo gcc pkg-config virsh qemu-system-x86_64 qemu-img busybox cpio
        ;;
    esac
}

is_installed() {
    case $1 in
    apt-get)
        # "dpkg -s" also succeeds for a package that was removed and left its configuration.
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$2" 2>/dev/null)" = installed ]
        ;;
    dnf | zypper) rpm -q --whatprovides "$2" >/dev/null 2>&1 ;;
    pacman) pacman -Qq "$2" >/dev/null 2>&1 ;;
    other) command -v "$2" >/dev/null 2>&1 ;;
    esac
}

# Names a package that brings a Python for this project.
python_packages() {
    wanted=$(bare_python)
    case $1 in
    apt-get)
        case $wanted in
        */python3 | python3) echo python3-venv ;;
        python3.*) echo "$wanted-venv" ;;
        *) apt_python ;;
        esac
        ;;
    dnf) if [ -e /etc/fedora-release ]; then echo python3; else echo python3.12; fi ;;
    zypper) echo python311 ;;
    pacman) echo python ;;
    other) echo 'Python>=3.11' ;;
    esac
}

# Where python3 is too old (Ubuntu 22.04) or absent: the first one on offer that is new enough.
apt_python() {
    offered=$(apt-cache policy python3 2>/dev/null | sed -n 's/^ *Candidate: 3\.\([0-9]*\).*/\1/p')
    if [ "${offered:-11}" -ge 11 ]; then
        echo python3-venv
        return 0
    fi
    for version in 3.12 3.11 3.13 3.14; do
        if apt-cache show "python$version-venv" >/dev/null 2>&1; then
            echo "python$version-venv"
            return 0
        fi
    done
    echo python3.11-venv
}

# Names the headers of the Python that will be used.
header_packages() {
    case $1 in
    apt-get)
        case ${python:-$2} in
        python3.*-venv) echo "${2%-venv}-dev" ;;
        python3.*) echo "$python-dev" ;;
        *) echo python3-dev ;;
        esac
        ;;
    dnf) if [ -e /etc/fedora-release ]; then echo python3-devel; else echo python3.12-devel; fi ;;
    zypper) if [ "$python" = python3 ]; then echo python3-devel; else echo python311-devel; fi ;;
    pacman) ;; # in python itself
    other) echo 'Python.h' ;;
    esac
}

missing_packages() {
    venv_package=
    missing=
    if ! find_python; then
        venv_package=$(python_packages "$1")
        missing=$venv_package
    fi
    if [ "$goal" = test ]; then
        if [ -z "$python" ] || ! has_headers "$python"; then
            missing="$missing $(header_packages "$1" "$venv_package")"
        fi
        for package in $(packages_for_tests "$1"); do
            is_installed "$1" "$package" || missing="$missing $package"
        done
    fi
    # One line, single spaces.
    # shellcheck disable=SC2086
    set -- $missing
    echo "$*"
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a
    log=$(mktemp)
    say "apt-get update"
    # A broken third-party source need not matter: the install below decides.
    apt-get -q -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 </dev/null ||
        say "apt-get update had trouble: $(grep -m 1 '^E:' "$log" || echo 'no error line')"
    # A Python of another name may be on offer only after the update.
    missing=$(missing_packages apt-get)
    say "apt-get install $missing"
    # shellcheck disable=SC2086
    if ! apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing \
        >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get install failed; its last lines are above"
    fi
    rm -f "$log"
}

install_system_packages() {
    kind=$(system)
    missing=$(missing_packages "$kind")
    if [ -z "$missing" ]; then
        return 0
    fi
    case $kind in
    apt-get)
        if [ "$(id -u)" -eq 0 ]; then
            apt_install
            missing=$(missing_packages "$kind")
            [ -z "$missing" ] || fail "still missing after apt-get install: $missing"
            return 0
        fi
        how="sudo apt-get install $missing"
        ;;
    dnf) how="sudo dnf install $missing" ;;
    zypper) how="sudo zypper install $missing" ;;
    pacman) how="sudo pacman -S --needed $missing" ;;
    other) how='the package manager of this system (.ci/setup.sh has the names that other systems use)' ;;
    esac
    say "missing for 'make $goal': $missing" >&2
    fail "install with: $how"
}

# --- The virtual environment ------------------------------------------------------------------------

# Changes whenever the environment must be made or filled again: another place, interpreter or project.
stamp_text() {
    echo "$PWD $("$venv/bin/python" -VV 2>&1 | tr '\n' ' ')"
    cksum <pyproject.toml
}

works() { is_new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }
# Its scripts name their interpreter by full path.
was_moved() { [ -f "$venv/.place" ] && [ "$(cat "$venv/.place")" != "$PWD" ]; }
is_stamped() { [ -f "$venv/.ready-$1" ] && [ "$(stamp_text)" = "$(cat "$venv/.ready-$1")" ]; }

fill_environment() {
    if [ -e "$venv" ] && { was_moved || ! works; }; then
        say "removing $venv, which does not work here"
        rm -rf "$venv"
    fi
    # What the tests have, the linters and the demo have too.
    if is_stamped "$goal" || is_stamped test; then
        return 0
    fi
    if [ ! -e "$venv" ]; then
        find_python
        say "making $venv with $python ($("$python" -V))"
        "$python" -m venv "$venv"
        echo "$PWD" >"$venv/.place"
    fi
    say "pip install -e .$extras"
    # pip warns about many things that are well; what it says matters when it fails.
    log=$(mktemp)
    if ! PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 \
        "$venv/bin/python" -m pip install --quiet --editable ".$extras" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        fail "pip install failed; its reason is above"
    fi
    rm -f "$log"
    stamp_text >"$venv/.ready-$goal"
}

install_system_packages
fill_environment
say "ready for 'make $goal'"
