#!/bin/busybox sh
# A guest's first process: the host's files, read-only, under an overlay in memory; then a shell
# that the host writes its commands to.
/bin/busybox --install -s /bin
export PATH=/bin
fail() { echo "guest: $*"; poweroff -f; }

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module" || fail "cannot insert $module"
done </modules/order

options=ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose
mount -t 9p -o "$options" host /host || fail "cannot mount the host's files"
mount -t tmpfs -o size=75% memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root ||
    fail "cannot lay memory over the host's files"

release=$(uname -r)
mkdir -p "/root/lib/modules/$release"
mount --bind "/host$(cat /modules/folder)" "/root/lib/modules/$release"
mount -t tmpfs run /root/run
for folder in dev proc sys; do
    mount --move "/$folder" "/root/$folder"
done
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t bpf bpf /root/sys/fs/bpf
mount -t cgroup2 cgroup /root/sys/fs/cgroup
ip link set lo up
hostname guest
export HOME=/root TERM=dumb
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec switch_root /root /bin/sh -c '
    port=$(echo /dev/vport*p1)
    exec 0<>"$port" 1>&0 2>&1
    echo "guest: up"
    exec /bin/sh'
