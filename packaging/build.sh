#!/bin/sh
# Builds what is released into dist/, from what is in this checkout:
#
#   sh packaging/build.sh            all that this machine can build; says what it leaves out, and why
#   sh packaging/build.sh wheel      the wheel and the source archive (virtfix-VERSION.tar.gz)
#   sh packaging/build.sh rpm        an RPM and its source RPM, from the source archive
#   sh packaging/build.sh deb        a Debian package, from the source archive
#
# It needs a Python >= 3.11 with pip, and a package index for the build backend, once (build/backend); for an RPM
# rpmbuild (Debian: rpm), for a Debian package dpkg-dev, debhelper, dh-python, pybuild-plugin-pyproject and
# python3-all. A second run gives the same files. $PYTHON says which Python, in place of .venv's.
set -eu

cd "$(dirname "$0")/.."
top=$PWD
goal=${1:-all}
build=$top/build
backend=$build/backend

say() { echo "build: $*"; }
fail() {
    echo "build: $*" >&2
    exit 1
}

case $goal in
all | wheel | rpm | deb) ;;
*)
    echo "usage: $0 [all|wheel|rpm|deb]" >&2
    exit 2
    ;;
esac

python=${PYTHON:-$top/.venv/bin/python}
[ -x "$python" ] || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than Python 3.11"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
name=virtfix-$version
# Archives and packages carry the day of the release, so that the same sources give the same bytes.
day=$(sed -n "s/^## \[$version\] - \(.*\)$/\1/p" CHANGELOG.md)
[ -n "$day" ] || fail "CHANGELOG.md has no entry with a date for $version"
SOURCE_DATE_EPOCH=$(date -u -d "$day" +%s)
export SOURCE_DATE_EPOCH

# The build backend in a folder of its own, where any Python finds it by PYTHONPATH. Distributions have older ones:
# hatchling of Debian 12 does not know this project's licence fields.
get_backend() {
    if [ ! -e "$backend/.ready" ]; then
        say "pip install build hatchling installer, into build/backend"
        rm -rf "$backend"
        mkdir -p "$build"
        "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
            --target "$backend" 'build>=1.0' 'hatchling>=1.27' 'installer>=0.7' >"$build/backend.log" 2>&1 ||
            fail "pip can not get the build backend: $(tail -n 3 "$build/backend.log")"
        touch "$backend/.ready"
    fi
}

# Wheel and archive; the wheel is made from the archive, which shows that nothing is missing there.
build_wheel() {
    get_backend
    rm -rf "$build/archive"
    PYTHONPATH=$backend "$python" -m build --no-isolation --sdist --outdir "$build/archive" . >"$build/sdist.log" 2>&1 ||
        fail "no source archive: $(tail -n 3 "$build/sdist.log")"
    tar -xzf "$build/archive/$name.tar.gz" -C "$build/archive"
    (cd "$build/archive/$name" &&
        PYTHONPATH=$backend "$python" -m build --no-isolation --wheel --outdir "$build/archive" . >"$build/wheel.log" 2>&1) ||
        fail "no wheel: $(tail -n 3 "$build/wheel.log")"
    take "$build/archive/$name.tar.gz" "$build/archive"/"$name"-*.whl
}

take() {
    mkdir -p "$top/dist"
    for file in "$@"; do
        cp "$file" "$top/dist/"
        say "dist/$(basename "$file")"
    done
}

# Of several tools, those that this machine lacks.
lacking() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || printf '%s ' "$tool"
    done
}

build_rpm() {
    lacks=$(lacking rpmbuild)
    if [ -n "$lacks" ]; then
        leave_out rpm "$lacks(Debian: rpm; Fedora: rpm-build)"
        return 0
    fi
    rm -rf "$build/rpm"
    mkdir -p "$build/rpm/SOURCES"
    cp "dist/$name.tar.gz" "$build/rpm/SOURCES/"
    # With Fedora's macros the backend is a package, as the rest; without them it is ours.
    with=$backend
    [ -z "$(rpm --eval '%{?pyproject_wheel:yes}')" ] || with=
    PYTHONPATH=$with rpmbuild -ba --define "_topdir $build/rpm" --define 'source_date_epoch_from_changelog 0' \
        --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
        --define '_buildhost localhost' packaging/virtfix.spec >"$build/rpm.log" 2>&1 ||
        fail "no RPM; see build/rpm.log: $(tail -n 5 "$build/rpm.log")"
    take "$build"/rpm/RPMS/*/*.rpm "$build"/rpm/SRPMS/*.rpm
}

build_deb() {
    lacks=$(lacking dpkg-buildpackage dh dh_python3 pybuild)
    if [ -n "$lacks" ]; then
        leave_out deb "$lacks(Debian: dpkg-dev debhelper dh-python pybuild-plugin-pyproject python3-all)"
        return 0
    fi
    rm -rf "$build/deb"
    mkdir -p "$build/deb"
    tar -xzf "dist/$name.tar.gz" -C "$build/deb"
    cp -R packaging/debian "$build/deb/$name/debian"
    options=
    with=
    if ! (cd "$build/deb/$name" && dpkg-checkbuilddeps) >"$build/deb-lacks.log" 2>&1; then
        say "this Debian's packages do not suffice: $(sed 's/.*: *//' "$build/deb-lacks.log")"
        say "so the backend is build/backend, and what is built is not tried"
        options=-d
        with=$backend
        DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:+$DEB_BUILD_OPTIONS }nocheck"
        export DEB_BUILD_OPTIONS
    fi
    # shellcheck disable=SC2086
    (cd "$build/deb/$name" && PYTHONPATH=$with PATH=/usr/bin:/bin:/usr/sbin:/sbin dpkg-buildpackage -us -uc -b $options) \
        >"$build/deb.log" 2>&1 || fail "no Debian package; see build/deb.log: $(tail -n 5 "$build/deb.log")"
    take "$build"/deb/*.deb
}

leave_out() {
    [ "$goal" = all ] || fail "$1 needs $2"
    say "$1 is left out, for want of $2"
}

build_wheel
if [ "$goal" = all ] || [ "$goal" = rpm ]; then build_rpm; fi
if [ "$goal" = all ] || [ "$goal" = deb ]; then build_deb; fi
