#!/usr/bin/env bash
# Buildroot runs this when the root file system is an image: $1 is the directory of images. Makes a slot of it
# (dm-verity, and the description that GRUB reads), the disk to flash and the bundle to update with.
set -euo pipefail
images=$1
board=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$board/../../.." && pwd)
set -a
# shellcheck source=buildroot/board/x86_64/partitions.env
. "$board/partitions.env"
# shellcheck source=buildroot/board/x86_64/image.env
. "$board/image.env"
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/pyproject.toml")
BUILD=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y%m%d%H%M%S)
set +a
PATH=${HOST_DIR:?}/bin:$HOST_DIR/sbin:$PATH
export PATH

fail() { printf 'post-image: %s\n' "$*" >&2; exit 1; }

"$repository/buildroot/scripts/slot-image" "$images/rootfs.squashfs" "$images/slot.img"
PYTHONPATH=$repository python3 "$repository/buildroot/scripts/bootstate_image.py" "$images/bootstate.img"

# The boot partition: GRUB as Buildroot built it, our rules, and the rescue stage.
install -D -m 0644 "$board/grub.cfg" "$images/efi-part/EFI/BOOT/grub.cfg"
mkdir -p "$images/rescue"
cp "$images/bzImage" "$images/rescue/bzImage"
if [ -x "$repository/rescue/build" ]; then
  "$repository/rescue/build" "${TARGET_DIR:?}" "$images/rescue/initramfs"
else
  fail "rescue/build is missing: an image without a rescue stage is not made"
fi

"$repository/buildroot/scripts/fill" "$board/genimage.cfg.in" > "$images/genimage.cfg"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
genimage --rootpath "$work/root" --tmppath "$work/tmp" --inputpath "$images" --outputpath "$images" \
  --config "$images/genimage.cfg"

"$repository/buildroot/scripts/bundle" "$images/slot.img" "$images/update.raucb"

# The goal is that a slot is at most 96 MiB compressed.
size=$(( $(stat -c %s "$images/rootfs.squashfs") / 1048576 ))
echo "post-image: root file system ${size} MiB compressed, in a slot of $SIZE_ROOTFS MiB"
[ "$size" -le 96 ] || echo "post-image: that is more than the goal of 96 MiB" >&2
