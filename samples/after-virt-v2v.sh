#!/bin/sh
# after-virt-v2v.sh - rewrites what "virt-v2v -o local" wrote, and defines it.
#
#   virt-v2v -i ... -o local -os /var/lib/libvirt/images
#   after-virt-v2v.sh /var/lib/libvirt/images/NAME.xml [virtfix apply options...]
#
# virt-v2v writes NAME.xml beside the disks NAME-sda, NAME-sdb ... and defines nothing. It names the guest in the
# libosinfo metadata; where it could not tell, give --os. It gives no UUID, so the domain gets a new one here. The
# file itself stays as virt-v2v wrote it. Where to define: --connect URI, else LIBVIRT_DEFAULT_URI or libvirt's own
# default. A domain with something unresolved is not defined (--strict): its guest would not find all devices. Take
# --strict out below to define it all the same.
#
# Exit codes:
#   0  defined
#   1  error: nothing was defined (a domain of this name is there already, the guest is unknown, ...)
#   2  wrong usage
#   4  refused: something stays unresolved

set -eu
umask 077

case ${1:-} in
    '' | -h | --help)
        echo "usage: after-virt-v2v.sh NAME.xml [virtfix apply options...]" >&2
        exit 2
        ;;
    /*) xml=$1 ;;
    *) xml=./$1 ;; # so that a name like -x.xml is no option
esac
shift

if ! command -v virtfix >/dev/null; then
    echo "after-virt-v2v: virtfix is not installed, or not in PATH" >&2
    exit 1
fi
if [ ! -f "$xml" ] || [ ! -r "$xml" ]; then
    echo "after-virt-v2v: $xml is no file that can be read" >&2
    exit 1
fi

# The copy is for this user only, and keeps the file's name, which virtfix shows.
folder=$(mktemp -d "${TMPDIR:-/tmp}/after-virt-v2v.XXXXXXXXXX")
trap 'rm -rf -- "$folder"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
copy=$folder/${xml##*/}

if grep -q '<uuid>' -- "$xml"; then
    cat -- "$xml" >"$copy"
else
    read -r uuid </proc/sys/kernel/random/uuid
    # Behind the first </name>, which is that of the domain.
    LC_ALL=C awk -v "uuid=$uuid" '
        !done && (at = index($0, "</name>")) {
            $0 = substr($0, 1, at + 6) "<uuid>" uuid "</uuid>" substr($0, at + 7)
            done = 1
        }
        { print }
    ' <"$xml" >"$copy"
fi

# apply plans, proves its result, defines it with schema validation, and notes the run: see "virtfix history".
virtfix apply "$copy" --define --strict --yes --detailed-exitcode "$@"
