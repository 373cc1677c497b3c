#!/bin/sh
# Runs in a virtual machine, as its first program, and tells over the second serial port what the real program answers:
# see ../kernels, which starts it, and kernels.py, which judges. It decides nothing.
#
# It runs twice: on the file system that the kernel unpacked, which can be no root of another, and then on one that can.
if [ "$1" != again ]; then
    /bin/busybox --install -s /bin
    PATH=/bin
    mkdir -p /new
    mount -t tmpfs -o mode=755 new /new
    cp -a /bin /lib /payload /init /new/
    mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/etc /new/root /new/home/user
    exec switch_root /new /init again
fi
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 groups /sys/fs/cgroup
stty raw </dev/ttyS1
exec >/dev/ttyS1 2>&1 </dev/null
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\nuser:x:1000:\n' >/etc/group
for home in /root /home/user; do
    mkdir -p $home/.config/factory
    cp -r /payload/profiles $home/.config/factory/profiles
    cp -r /payload/repository $home/repository
done
chown -R 1000:1000 /home/user
printf '#!/bin/sh\necho more >>/src/seed && cat /src/seed\n' >/bin/change
chmod 755 /bin/change
case=$(sed 's/.*case=\([a-z]*\).*/\1/' /proc/cmdline)

# Runs a command as root or as the ordinary user and tells what it answered, under a name.
#   tell NAME WHO COMMAND...
tell() {
    name=$1 who=$2
    shift 2
    case $who in
    root) (cd /root/repository && HOME=/root timeout 90 "$@") >/tmp/out 2>/tmp/err ;;
    user) su user -c "cd ~/repository && exec timeout 90 $*" >/tmp/out 2>/tmp/err ;;
    esac
    code=$?
    printf '@case %s/%s %d\n' "$name" "$who" "$code"
    cat /tmp/out
    printf '\n@error\n'
    cat /tmp/err
    printf '\n@end\n'
}

# What the whole boot is about, for both.
both() {
    name=$1
    shift
    for who in root user; do tell "$name" $who "$@"; done
}

# Starts a shell function in a control group.
#   within GROUP FUNCTION...
within() {
    (
        sh -c 'echo $PPID' >/sys/fs/cgroup"$1"/cgroup.procs
        shift
        "$@"
    )
}

# The limits that all processes of a run share, each run into; and whether the groups are gone afterwards.
#   limits NAME WHO DIRECTORY PROFILE
limits() {
    tell "$1-memory" "$2" factory exec --json --profile "$4" -- probe hog-shared 256 5
    tell "$1-many" "$2" factory exec --json --profile "$4" -- probe hog-many 4 40 5
    tell "$1-pids" "$2" factory exec --json --profile "$4" -- probe fork 100 5
    tell "$1-cpu" "$2" factory exec --json --profile "$4" -- probe spin 60
    tell "$1-peak" "$2" factory exec --json --profile "$4" -- probe hog 40
    tell "$1-left" "$2" find "/sys/fs/cgroup$3" -name 'factory-*'
}

# A subtree as a service manager delegates it, with the caller in a leaf. Source: cgroups(7), "Delegation".
#   delegate DIRECTORY
delegate() {
    mkdir "/sys/fs/cgroup$1"
    for file in . cgroup.procs cgroup.subtree_control cgroup.threads; do
        chown 1000:1000 "/sys/fs/cgroup$1/$file"
    done
    su user -c "mkdir /sys/fs/cgroup$1/leaf"
}

echo "@begin $(uname -r)"
both doctor factory doctor --json --repo / --profile guest
both below factory exec --json --profile guest -- probe read /src/seed
both above factory exec --json --profile demanding -- true
case $case in
unlocked)
    both waived factory exec --json --waive landlock --profile guest -- true
    ;;
all)
    both copied factory exec --json --profile guest -- change
    both copied-doctor factory doctor --json --repo / --profile guest
    for module in /lib/overlay/*.ko; do insmod "$module"; done
    both layered factory exec --json --profile guest -- change
    both layered-doctor factory doctor --json --repo / --profile guest

    echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
    limits top root / grouped
    delegate /delegated
    within /delegated/leaf tell delegated-doctor user factory doctor --json --repo / --profile grouped
    within /delegated/leaf limits delegated user /delegated grouped
    # Without the controller of processor time, as service managers often do.
    mkdir /sys/fs/cgroup/narrow
    echo '+memory +pids' >/sys/fs/cgroup/narrow/cgroup.subtree_control
    delegate /narrow/delegated
    within /narrow/delegated/leaf limits narrow user /narrow/delegated grouped
    # In a group that belongs to somebody else.
    mkdir /sys/fs/cgroup/elsewhere
    within /elsewhere limits alone user / guest
    within /elsewhere tell alone-refused user factory exec --json --profile grouped -- true

    both ring-inside factory exec --json --profile guest -- probe call io_uring_setup
    both ring-setting cat /proc/sys/kernel/io_uring_disabled
    if [ -e /proc/sys/kernel/io_uring_disabled ]; then
        echo 2 >/proc/sys/kernel/io_uring_disabled
    fi
    both ring-outside probe call io_uring_setup
    both ring-exec factory exec --json --profile guest -- true
    both ring-doctor factory doctor --json --repo / --profile guest

    echo 0 >/proc/sys/kernel/unprivileged_userns_clone
    both clone-outside probe call unshare-user
    both clone-doctor factory doctor --json --repo / --profile guest
    both clone-exec factory exec --json --profile guest -- true
    echo 1 >/proc/sys/kernel/unprivileged_userns_clone
    echo 0 >/proc/sys/user/max_user_namespaces
    both most-outside probe call unshare-user
    both most-doctor factory doctor --json --repo / --profile guest
    both most-exec factory exec --json --profile guest -- true
    ;;
esac
echo "@done"
sync
poweroff -f
