#!/usr/bin/env python3
"""Writes the sysfs of a server with N PCI functions, each with the attributes that Linux shows.

    make_pci_host.py DIR N    DIR must not exist; use it as --path.sysfs

Of every 32 functions one is a GPU (driver nvidia), one a QuickAssist card with two virtual
functions, one a BMC's VGA; the rest is what servers are full of: ports, NICs, NVMe. The
accelerators are N/32 GPUs and N/32 crypto cards, and N/32 displays beside them. Always the
same for the same N.
"""

import os
import pathlib
import sys

# vendor, device, class, revision, driver, in the order in which they repeat.
PORT = ("8086", "2030", "060400", "04", "pcieport")
NIC = ("8086", "1521", "020000", "01", "igb")
NVME = ("144d", "a808", "010802", "00", "nvme")
BARE = ("8086", "2021", "088000", "04", None)
GPU = ("10de", "2330", "030200", "a1", "nvidia")
BMC = ("1a03", "2000", "030000", "41", "ast")
QAT = ("8086", "37c8", "0b4000", "04", "c6xx")
QAT_VF = ("8086", "37c9", "0b4000", "04", "c6xxvf")
PATTERN = [GPU, BMC, QAT, QAT_VF, QAT_VF] + [PORT, NIC, NVME] * 7 + [BARE] * 6

PER_HOST_BRIDGE = 32
MSI_IRQS = 4


def attributes(function, address, number):
    """File name -> content of one function."""
    vendor, device, pci_class, revision, driver = function
    ids = f"v{vendor.upper():0>8}d{device.upper():0>8}sv{vendor.upper():0>8}sd{device.upper():0>8}"
    base, sub, interface = (pci_class[i : i + 2].upper() for i in (0, 2, 4))
    modalias = f"pci:{ids}bc{base}sc{sub}i{interface}"
    uevent = [f"DRIVER={driver}"] if driver else []
    uevent += [f"PCI_CLASS={int(pci_class, 16):04X}", f"PCI_ID={vendor.upper()}:{device.upper()}",
               f"PCI_SUBSYS_ID={vendor.upper()}:{device.upper()}", f"PCI_SLOT_NAME={address}",
               f"MODALIAS={modalias}"]  # fmt: skip
    resource = ["0x00000000d0000000 0x00000000d0ffffff 0x0000000000040200"] + [f"0x{0:016x} " * 2 + f"0x{0:016x}"] * 12
    lines = {
        "ari_enabled": "1", "broken_parity_status": "0", "class": f"0x{pci_class}",
        "consistent_dma_mask_bits": "64", "current_link_speed": "8.0 GT/s PCIe",
        "current_link_width": "16", "d3cold_allowed": "1", "device": f"0x{device}",
        "dma_mask_bits": "64", "driver_override": "(null)", "enable": "1" if driver else "0",
        "irq": str(16 + number % 200), "local_cpulist": "0-31", "local_cpus": "ffffffff",
        "max_link_speed": "8.0 GT/s PCIe", "max_link_width": "16", "modalias": modalias,
        "msi_bus": "1", "numa_node": str(number // PER_HOST_BRIDGE % 2), "power_state": "D0",
        "resource": "\n".join(resource), "revision": f"0x{revision}",
        "subsystem_device": f"0x{device}", "subsystem_vendor": f"0x{vendor}",
        "uevent": "\n".join(uevent), "vendor": f"0x{vendor}",
        "power/async": "enabled", "power/control": "on", "power/runtime_active_time": "0",
        "power/runtime_enabled": "forbidden", "power/runtime_status": "active",
        "power/runtime_suspended_time": "0", "power/runtime_usage": "1", "power/wakeup": "disabled",
    }  # fmt: skip
    files = {name: text.encode() + b"\n" for name, text in lines.items()}
    config = int(vendor, 16).to_bytes(2, "little") + int(device, 16).to_bytes(2, "little")
    files |= {"config": config.ljust(4096, b"\0"), "remove": b"", "rescan": b"", "reset": b""}
    return files | {f"msi_irqs/{32 + irq}": b"msix\n" for irq in range(MSI_IRQS)}


def make(root, count):
    root = pathlib.Path(root)
    root.mkdir()
    bus = root / "bus/pci"
    for folder in (bus / "devices", bus / "drivers", root / "class/drm"):
        folder.mkdir(parents=True)
    pf = None  # the last one that has virtual functions
    for number in range(count):
        function = PATTERN[number % len(PATTERN)]
        bridge = number // PER_HOST_BRIDGE
        address = f"{bridge // 256:04x}:{bridge % 256:02x}:{number % PER_HOST_BRIDGE:02x}.0"
        parent = f"devices/pci{bridge // 256:04x}:{bridge % 256:02x}"
        device = root / parent / address
        for folder in (device / "power", device / "msi_irqs"):
            folder.mkdir(parents=True)
        for name, content in attributes(function, address, number).items():
            (device / name).write_bytes(content)
        (device / "subsystem").symlink_to("../../../bus/pci")
        os.symlink(f"../../../{parent}/{address}", bus / "devices" / address)
        if driver := function[4]:
            (bus / "drivers" / driver).mkdir(exist_ok=True)
            (device / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")
            os.symlink(f"../../../../{parent}/{address}", bus / "drivers" / driver / address)
        if function is QAT:
            pf = device
            (pf / "sriov_numvfs").write_text("2\n")
            (pf / "sriov_totalvfs").write_text("16\n")
        elif function is QAT_VF:
            (device / "physfn").symlink_to(f"../{pf.name}")
            (pf / f"virtfn{len(list(pf.glob('virtfn*')))}").symlink_to(f"../{address}")
        elif function is BMC:
            card = device / "drm" / f"card{bridge}"
            card.mkdir(parents=True)
            (card / "dev").write_text(f"226:{bridge}\n")
            (card / "device").symlink_to(f"../../../{address}")
            (card / "subsystem").symlink_to("../../../../../class/drm")
            (root / "class/drm" / card.name).symlink_to(f"../../{parent}/{address}/drm/{card.name}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdigit():
        sys.exit(__doc__.strip())
    make(sys.argv[1], int(sys.argv[2]))
