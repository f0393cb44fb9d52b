"""A QEMU guest that runs systemd: Debian's kernel, and a disk with Debian's packages.

The disk is made once (root or sudo) and kept in $DTE_CACHE; a guest never changes
it. Nothing on it is configured but what systemd and dpkg need. Root's shell is a
service on the console: Guest.root.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import debian
import qemu

PACKAGES = ["systemd-sysv", "init-system-helpers", "dpkg", "base-files", "base-passwd", "bash", "coreutils", "dash",
            "diffutils", "findutils", "grep", "gzip", "libc-bin", "mount", "perl-base", "sed", "tar", "util-linux"]  # fmt: skip
BOOT_SECONDS = 600  # emulated, on a busy machine; half a minute on an idle one
# apt's packages ship /bin, /lib and /sbin unmerged. What makes units for gettys, fstab and so on takes half
# of each daemon-reload, and a getty would have the guest wait 90 s for a udev that it has not.
MAKE_DISK = """
cd "$1"
mkdir -p usr/bin usr/sbin usr/lib proc sys dev run tmp var/lib/dpkg/info
for name in bin sbin lib; do ln -s usr/$name $name; done
for deb in ../*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar --keep-directory-symlink -xpf -; done
chmod 1777 tmp
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
cp usr/share/libc-bin/nsswitch.conf etc/nsswitch.conf
ln -sf dash bin/sh
echo guest >etc/hostname
echo 127.0.0.1 localhost >etc/hosts
: >etc/machine-id
touch var/lib/dpkg/status
rm usr/lib/systemd/system-generators/*
mke2fs -q -t ext4 -d . -m 0 "$2" 600M
chown "$3" "$2"
"""
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko; done
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /new
cp -a /payload/. /new/
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
umount /proc /sys /dev
exec switch_root /new /usr/lib/systemd/systemd
"""
CONSOLE = """[Unit]
Description=Root's shell for the test
DefaultDependencies=no
After=multi-user.target
[Service]
ExecStart=/bin/bash /console
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/{console}
Environment=HOME=/root SYSTEMD_COLORS=0 SYSTEMD_PAGER= LC_ALL=C.UTF-8
[Install]
WantedBy=multi-user.target
"""
SHELL = """stty -echo
echo
echo "@ready"
while read -r number line; do
  echo "@root $number"
  eval "$line" </dev/null 2>&1
  echo "@root $number ended $?"
done
"""


def _disk(arch):
    """The file of the disk."""
    key = hashlib.sha256(repr((PACKAGES, MAKE_DISK)).encode()).hexdigest()[:12]
    disk = debian.CACHE / "systemd-guest" / f"{arch}-{key}.ext4"
    disk.parent.mkdir(parents=True, exist_ok=True)
    if not disk.exists():
        with tempfile.TemporaryDirectory(dir=disk.parent) as work:
            debian.with_dependencies(PACKAGES, arch, work)
            root, made = f"{work}/root", f"{work}/disk"
            os.mkdir(root)
            sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
            try:
                subprocess.run(
                    [*sudo, "bash", "-euo", "pipefail", "-c", MAKE_DISK, "disk", root, made, str(os.geteuid())],
                    stdin=subprocess.DEVNULL, check=True,
                )  # fmt: skip
            finally:
                subprocess.run([*sudo, "rm", "-rf", root], check=True)
            os.rename(made, disk)
    return disk


@contextlib.contextmanager
def boot(machine, folder, payload, tree=None):
    """Boots `machine` under systemd, with the files below the folder `payload` put into it.

    Yields the qemu.Guest once systemd has come up.
    """
    kernel = debian.linux_image(machine.arch, machine.arch)
    modules = qemu.module_paths(kernel, [*machine.network_modules, "virtio_blk", "ext4", "crc32c_generic"])
    root = folder / "initramfs"
    for name in ["bin", "dev", "modules", "new", "proc", "sys"]:
        (root / name).mkdir(parents=True)
    shutil.copy(debian.unpacked("busybox-static", machine.arch) / "bin/busybox", root / "bin/busybox")
    for module in modules:
        shutil.copy(module, root / "modules")
    (root / "init").write_text(INIT.format(modules=" ".join(module.stem for module in modules)))
    (root / "init").chmod(0o755)
    shutil.copytree(payload, root / "payload")
    units = root / "payload/etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "console.service").write_text(CONSOLE.format(console=machine.console))
    (units / "multi-user.target.wants/console.service").symlink_to("../console.service")
    (root / "payload/console").write_text(SHELL)

    bus = "device" if machine.arch == "arm64" else "pci"
    disk = f"file={_disk(machine.arch)},format=raw,if=none,id=disk,snapshot=on,cache=unsafe"
    devices = ["-drive", disk, "-device", f"virtio-blk-{bus},drive=disk"]
    append = "systemd.unit=multi-user.target systemd.show_status=0 systemd.log_target=journal loglevel=0"
    with qemu.start(
        machine, kernel, qemu.pack(root), folder, tree, network="restrict=on,", devices=devices, append=append
    ) as guest:
        guest.wait_for("@ready", BOOT_SECONDS)
        yield guest
