#!/bin/sh
# Install the Debian packages that a build or a test run needs and that are missing.
#   tools/deps.sh install|skip build|test|package|ci|page
# `skip` leaves the machine alone. What each package is for: docs/dependencies.md.
set -eu
mode=$1
what=$2
build="gcc g++ libc6-dev libmicrohttpd-dev libgnutls28-dev libcrypt-dev libsnappy-dev libzstd-dev libprotobuf-c-dev protobuf-c-compiler libjemalloc-dev libre2-dev libxxhash-dev libyaml-dev zlib1g-dev libcurl4-openssl-dev"
test="libcmocka-dev python3 curl"
ci="clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14"
package="debhelper dpkg-dev fakeroot lintian pkgconf debootstrap"
# Node's own npm is as good as Debian's.
page=
command -v npm >/dev/null 2>&1 || page="nodejs npm"
case $what in
page) packages=$page ;;
build) packages=$build ;;
test) packages="$build $test" ;;
package) packages="$build $test $package" ;;
ci) packages="$build $test $package $ci $page chromium" ;;
*) echo "deps: unknown set '$what'" >&2; exit 2 ;;
esac
[ "$mode" = skip ] && exit 0
command -v dpkg-query >/dev/null 2>&1 || { echo "deps: this is not a Debian system; install these yourself and use DEPS=skip: $packages" >&2; exit 1; }
missing=
for p in $packages; do
    dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "Installing missing Debian packages (DEPS=skip to leave the machine alone):$missing"
root=
[ "$(id -u)" = 0 ] || root=sudo
$root env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null || true
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null || {
    echo "deps: apt-get could not install:$missing" >&2
    exit 1
}
