#!/bin/sh
# Installs Debian packages that bring programs which are missing: system-packages.sh PROGRAM=PACKAGE …
# Not as root, or where there is no apt-get, it only says what is missing; tests that need it are skipped, and say so.
missing=""
for pair in "$@"; do
    command -v "${pair%%=*}" > /dev/null || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo "installing$missing"
    apt-get -qq update > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing > /dev/null
else
    echo "missing on this machine:$missing (apt-get install$missing); tests that need it will be skipped"
fi
