#!/usr/bin/env bash
# Buildroot runs this on the root file system before it is made an image: $1 is its directory.
set -euo pipefail
target=$1
board=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$board/../../.." && pwd)
set -a
# shellcheck source=buildroot/board/x86_64/partitions.env
. "$board/partitions.env"
# shellcheck source=buildroot/board/x86_64/image.env
. "$board/image.env"
set +a

fail() { printf 'post-build: %s\n' "$*" >&2; exit 1; }

# Whose bundles this image takes: a release's authority given with RELEASE_KEYRING, else the development one.
keyring=${RELEASE_KEYRING:-$("$repository/buildroot/scripts/development-key" "${BUILD_DIR:?}/../keys")/ca.pem}
grep -q 'BEGIN CERTIFICATE' "$keyring" || fail "$keyring has no certificate"
if [ -n "${RELEASE_KEYRING:-}" ] && openssl crl2pkcs7 -nocrl -certfile "$keyring" | openssl pkcs7 -print_certs -noout |
  grep -qi development; then
  fail "RELEASE_KEYRING has a development authority in it"
fi
install -D -m 0644 "$keyring" "$target/etc/rauc/keyring.pem"
"$repository/buildroot/scripts/fill" "$board/rauc/system.conf.in" > "$target/etc/rauc/system.conf"

# The kernel's fragment is held to as the defconfig is: what Kconfig left out is an error, not a surprise.
for config in "${BUILD_DIR:?}"/linux-*/.config; do
  [ "${config#*linux-headers}" = "$config" ] || continue
  python3 "$repository/buildroot/scripts/kconfig_compare.py" "$board/linux.fragment" "$config"
done

# Read-only root: what systemd and D-Bus look for must be there, and what is one box's must not.
: > "$target/etc/machine-id"
rm -f "$target"/etc/ssh/ssh_host_*
mkdir -p "$target"/{data,factory,boot/efi,etc/branch-gateway}
ln -sf ../run/systemd/resolve/stub-resolv.conf "$target/etc/resolv.conf"
[ -e "$target/boot/bzImage" ] || fail "there is no kernel in the root file system"
for program in usr/bin/gateway usr/bin/gatewayctl usr/bin/gateway-media usr/bin/rauc usr/sbin/nft usr/sbin/chronyd; do
  [ -x "$target/$program" ] || fail "$program is missing"
done
