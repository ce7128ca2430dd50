#!/bin/sh
# Install the Debian packages that the build needs and that are missing: as root, or through sudo;
# otherwise say which line to type. Quick and silent when nothing is missing.
set -eu

packages="build-essential cmake ninja-build pkg-config libdnnl-dev libjansson-dev libfyaml-dev libpcre2-dev
 libutf8proc-dev libsqlite3-dev zlib1g-dev libcurl4-openssl-dev libmicrohttpd-dev
 libgnutls28-dev libcmocka-dev"

missing=""
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
    "install ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
[ -z "$missing" ] && exit 0

echo "installing:$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "these Debian packages are missing; install them with:" >&2
    echo "    sudo apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
