#!/bin/busybox sh
# First program of a guest, in the initramfs: reach the disk, make it the root, go on there.
b=/bin/busybox
give_up() {
	echo "norma-guest: $1" >/dev/console
	$b poweroff -f
}
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r module; do
	$b insmod "/$module" || echo "norma-guest: $module does not load"
done </modules/order
tries=0
until [ -b /dev/vda ]; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || give_up "there is no disk"
	$b sleep 0.1
done
$b mount -t ext4 -o noatime /dev/vda /disk || give_up "the disk cannot be mounted"
$b cp /stage /disk/sbin/norma-guest
$b umount /proc
$b umount /sys
$b mount --move /dev /disk/dev
exec $b switch_root /disk /sbin/norma-guest
