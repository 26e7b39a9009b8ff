#!/bin/bash
# Second program of a guest, on its disk: mounts what a node has mounted, and runs the job that is in the shared
# folder. What the job prints goes through a port that needs no terminal, its exit status into a file.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p /dev/pts /dev/shm /run/job "/lib/modules/$(uname -r)"
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t securityfs security /sys/kernel/security
mount -t tracefs tracing /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
echo guest >/proc/sys/kernel/hostname
ip link set lo up
# $1: tag, $2: folder, $3: options
share() {
	mkdir -p "$2" 2>/dev/null
	mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"
}
share job /run/job cache=none
share modules "/lib/modules/$(uname -r)" ro,cache=loose
modprobe virtio_console
for name in /sys/class/virtio-ports/*/name; do
	[ "$(cat "$name")" = output ] && port=/dev/$(basename "$(dirname "$name")")
done
echo "$(uname -r) $(cut -d' ' -f1 /proc/uptime)" >/run/job/started
if [ -e /run/job/shell ]; then
	. /run/job/job.sh
	setsid --ctty bash -l </dev/console >/dev/console 2>&1
	status=$?
else
	(
		. /run/job/job.sh
	) </dev/null 2>&1 | cat >"${port:-/dev/console}"
	status=${PIPESTATUS[0]}
fi
dmesg >/run/job/dmesg.txt
echo "$status $(cut -d' ' -f1 /proc/uptime)" >/run/job/ended
sync
busybox poweroff -f
