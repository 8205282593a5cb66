#!/bin/sh
# pre-migrate.sh - moves the definition of a stopped domain to another host, rewritten for its guest.
#
#   pre-migrate.sh [--dry-run] [--allow-unresolved] DOMAIN DEST_URI [virtfix plan options...]
#
#   --dry-run            show the plan and the virsh commands, and stop
#   --allow-unresolved   go on where virtfix leaves something unresolved
#
# DOMAIN is a name or a UUID on the source, which is LIBVIRT_DEFAULT_URI or virsh's own default. DEST_URI is as
# this machine sees the destination, which needs the domain's disks (and its NVRAM file: libvirt copies neither).
# The options go to "virtfix plan": --os, --os-map, --policy, --target-capabilities DEST_URI ... The source keeps its
# definition as it is. Of a RUNNING domain, "virsh migrate --live --persistent --persistent-xml" takes the new XML
# along for its next start; that is not what this script does.
#
# Why there is a "virsh define" behind the migration: libvirt takes --persistent-xml in the phase that copies the
# memory. An offline migration has no such phase: it ends with exit code 0, and the OLD definition is on the
# destination (seen with libvirt 9.0; newer source skips that phase too). --xml is no way out, libvirt refuses there any
# other PCI address. So this script looks at what has arrived and, where that is not the new XML, defines that.
#
# Exit codes:
#   0  the destination has the rewritten definition; with --dry-run: it could be made
#   1  error, before anything was migrated
#   2  wrong usage
#   3  refused: the domain runs, or has a managed save
#   4  refused: something stays unresolved (see --allow-unresolved)
#   5  virsh migrate failed; what it says stands above
#   6  migrated, but the destination has not the rewritten definition: do not start the domain there

set -eu
umask 077

usage() {
    echo "usage: pre-migrate.sh [--dry-run] [--allow-unresolved] DOMAIN DEST_URI [virtfix plan options...]" >&2
    exit 2
}

say() {
    printf 'pre-migrate: %s\n' "$*" >&2
}

fail() {
    code=$1
    shift
    say "$@"
    exit "$code"
}

# The script's own options may stand anywhere: "for" has read the list before "set" changes it.
dry_run=no
allow_unresolved=no
for argument; do
    shift
    case $argument in
        --dry-run) dry_run=yes ;;
        --allow-unresolved) allow_unresolved=yes ;;
        *) set -- "$@" "$argument" ;;
    esac
done
[ $# -ge 2 ] || usage
domain=$1
destination=$2
shift 2
case $domain in '' | -h | --help) usage ;; esac
case $destination in '' | -*) usage ;; esac
for program in virsh virtfix mktemp; do
    command -v "$program" >/dev/null || fail 1 "$program is not installed, or not in PATH"
done

# From here on the UUID names the domain: it is neither an option nor a number that virsh takes for an id.
uuid=$(LC_ALL=C virsh dominfo --domain "$domain" | sed -n 's/^UUID: *//p')
[ -n "$uuid" ] || fail 1 "no domain $domain on the source"

id=$(virsh domid --domain "$uuid" | tr -d '[:space:]')
case $id in
    -) ;;
    '') fail 1 "virsh does not say whether $domain is running" ;;
    *) fail 3 "$domain is running: shut it down first, a running guest keeps the devices that it has" ;;
esac
saved=$(virsh list --all --with-managed-save --uuid) || fail 1 "virsh does not say what has a managed save"
case $saved in
    *"$uuid"*)
        fail 3 "$domain has a managed save, which holds its old devices: start it and shut it down," \
            "or give it up by virsh managedsave-remove"
        ;;
esac

# All that is written lies in a folder for this user only: the XML holds passwords.
folder=$(mktemp -d "${TMPDIR:-/tmp}/pre-migrate.XXXXXXXXXX") || fail 1 "no temporary folder"
trap 'rm -rf -- "$folder"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

virsh dumpxml --inactive --security-info --domain "$uuid" >"$folder/old.xml" || fail 1 "$domain cannot be dumped"

status=0
virtfix plan "$folder/old.xml" "$@" --format text --detailed-exitcode || status=$?
case $status in
    0 | 3) ;;
    4)
        [ "$allow_unresolved" = yes ] ||
            fail 4 "something stays unresolved: nothing was migrated (--allow-unresolved goes on)"
        ;;
    2) exit 2 ;;
    *) fail 1 "virtfix made no plan: nothing was migrated" ;;
esac
virtfix plan "$folder/old.xml" "$@" --format xml >"$folder/new.xml" || fail 1 "virtfix wrote no XML"
[ -s "$folder/new.xml" ] || fail 1 "virtfix wrote no XML"

if [ "$dry_run" = yes ]; then
    say "would run: virsh migrate --offline --persistent --persistent-xml NEW.xml" \
        "--domain $uuid --desturi $destination"
    say "then, where the old definition arrives: virsh -c $destination define --validate NEW.xml"
    exit 0
fi

virsh migrate --offline --persistent --persistent-xml "$folder/new.xml" --domain "$uuid" --desturi "$destination" ||
    fail 5 "the migration of $domain failed"

# Does virtfix, asked again, find anything to do in what has arrived? Its diff is empty where it does not.
arrived_right() {
    virsh -c "$destination" dumpxml --inactive --security-info --domain "$uuid" >"$folder/arrived.xml" &&
        virtfix plan "$folder/arrived.xml" "$@" --format diff >"$folder/diff" &&
        [ ! -s "$folder/diff" ]
}

if ! arrived_right "$@"; then
    virsh -c "$destination" define --validate "$folder/new.xml" ||
        fail 6 "the destination refuses the rewritten definition and has the old one: do not start $domain there"
    arrived_right "$@" ||
        fail 6 "the destination has not the rewritten definition: do not start $domain there"
fi
say "$domain is defined on $destination as planned; the source has it as it was"
