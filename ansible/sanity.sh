#!/bin/sh
# Runs ansible-test sanity on this collection, which has to lie in ansible_collections/virtfix/libvirt for that: on a
# copy in a temporary folder. Arguments go to ansible-test; without any, all tests run that need no container.
#
#   sh ansible/sanity.sh
#   sh ansible/sanity.sh --venv --python 3.11 --test validate-modules
#
# It takes each python3.X on the PATH that its ansible-core knows. One that does not run there, as a shim of pyenv, ends
# it: --venv --python 3.11 takes that one only.
#
# ANSIBLE_TEST names another ansible-test. What its tests need comes from PyPI, into virtual environments of its own;
# the script that puts pip into these comes from a server of Ansible's. SANITY_ENSUREPIP=1 does without that server: it
# puts one into ansible-test's cache that takes the pip of Python itself.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tool=${ANSIBLE_TEST:-$here/../.venv/bin/ansible-test}
[ -x "$tool" ] || tool=$(command -v ansible-test) || {
    echo "sanity: ansible-test is missing: pip install ansible-core" >&2
    exit 1
}

if [ -n "${SANITY_ENSUREPIP:-}" ]; then
    cache=$HOME/.ansible/test/cache
    package=$("$(dirname "$tool")/python" -c 'import ansible_test; print(ansible_test.__path__[0])')
    mkdir -p "$cache"
    for version in $(sed -n "s/.*pip='\([0-9.]*\)'.*/\1/p" "$package/_internal/python_requirements.py"); do
        script=$cache/get_pip_$(echo "$version" | tr . _).py
        [ -e "$script" ] || cat >"$script" <<'END'
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "-q"] + wanted))
END
    done
fi

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$place/ansible_collections/virtfix"
cp -R "$here" "$place/ansible_collections/virtfix/libvirt"
cd "$place/ansible_collections/virtfix/libvirt"
rm -f sanity.sh # is no part of the collection
find . -name __pycache__ -prune -exec rm -rf {} +
[ $# -gt 0 ] || set -- --venv
"$tool" sanity --color no "$@"
