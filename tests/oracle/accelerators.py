#!/usr/bin/env python3
"""Which accelerators a devicetree describes: an independent reading of facts/accelerators.md.

    accelerators.py BOARD.dtb...    one line per device, then one per trap

Not made from exporter/accelerators.yaml, and must never be: it is what that is compared with.
Devicetree only; PCI and USB have no blob.
"""

import collections
import pathlib
import re
import sys

import fdt
import labels

# A device: kind, vendor, the compatible that told, the paths of its nodes (the first is its
# address), and whether it is enabled (one enabled node is enough).
Device = collections.namedtuple("Device", "kind vendor compatible paths enabled")
# A node that looks like an accelerator and is none.
Trap = collections.namedtuple("Trap", "path compatible why")

# Sections 1 to 4: kind -> exact compatibles. The vendor is the compatible's own prefix, renamed
# by the labels' table.
KINDS = {
    "gpu": """
        nvidia,gk20a nvidia,gm20b nvidia,gp10b nvidia,gv11b nvidia,ga10b nvidia,ga10b-vgpu
        arm,mali-400 arm,mali-450
        arm,mali-t604 arm,mali-t624 arm,mali-t628 arm,mali-t720 arm,mali-t760 arm,mali-t820
        arm,mali-t830 arm,mali-t860 arm,mali-t880
        arm,mali-bifrost arm,mali-valhall-jm arm,mali-valhall-csf
        brcm,2711-v3d brcm,2712-v3d brcm,7268-v3d brcm,7278-v3d brcm,bcm2835-v3d brcm,cygnus-v3d
        img,img-rogue img,img-axe-1-16m img,img-bxm-4-64 img,img-bxs-4-64 img,img-gx6250 img,img-ge7800
        img,powervr-sgx530 img,powervr-sgx540 img,powervr-sgx544
        fsl,imx8-gpu fsl,imx8mp-gpu
        qcom,adreno
        apple,agx-g13g apple,agx-g13s apple,agx-g13c apple,agx-g13d
        apple,agx-g14g apple,agx-g14s apple,agx-g14c apple,agx-g14d
    """,
    "npu": """
        nvidia,tegra194-nvdla nvidia,tegra234-nvdla nvidia,tegra264-nvdla
        rockchip,rk3588-rknn-core
        rockchip,rknpu rockchip,rk3568-rknpu rockchip,rk3588-rknpu rockchip,rv1106-rknpu
        rockchip,rk3562-rknpu rockchip,rk3576-rknpu
        arm,ethos-u65 arm,ethos-u85
        fsl,imx8-vipsi
        apple,t8103-ane apple,ane
        canaan,k210-kpu kendryte,k210-kpu
        hobot,hobot-bpu
        hailo,integrated-nnc,hailo15l hailo,integrated-nnc,hailo12l
        xlnx,dpuczdx8g-3.4 xlnx,dpuczdx8g-4.1 xlnx,DPUCZDX8G-3.4 xlnx,DPUCZDX8G-4.1 xlnx,dpu-eu-2.0
    """,
    "tpu": "cvitek,tpu bitmain,tpu-1684 sophgo,sg2000-tpu",
    "dsp": "ti,am62a-c7xv-dsp ti,j721e-c66-dsp ti,j721e-c71-dsp ti,j721s2-c71-dsp",
    "vpu": "nvidia,tegra194-pva nvidia,tegra194-pva-hv nvidia,tegra234-pva nvidia,tegra234-pva-hv",
    "fpga": """
        xlnx,zynqmp-pcap-fpga xlnx,versal-fpga xlnx,zynq-devcfg-1.0
        altr,socfpga-fpga-mgr altr,socfpga-a10-fpga-mgr
        intel,stratix10-soc-fpga-mgr intel,agilex-soc-fpga-mgr
        microchip,mpf-spi-fpga-mgr lattice,ice40-fpga-mgr lattice,sysconfig-ecp5
    """,
    # The Tegra engines of section 1 that scale, compose and code images. No "vpu": that word is
    # the Movidius' kind in section 6, and a codec's name among the traps of section 8.
    "image": " ".join(f"nvidia,tegra{n}-vic" for n in (124, 132, 186, 194, 210, 234)),
    "video": " ".join([f"nvidia,tegra{n}-nvdec" for n in (186, 194, 210, 234)]
                      + [f"nvidia,tegra{n}-{e}" for n in (186, 194, 210) for e in ("nvenc", "nvjpg")]),
}
EXACT = {compatible.encode(): kind for kind, text in KINDS.items() for compatible in text.split()}
EXACT[b"amlogic, galcore"] = "npu"  # with its space

# Section 7, rule 1: only the name of the node tells.
VIVANTE = b"vivante,gc"
# Section 3, Hexagon: the remote processor, and the fastrpc below it, are one DSP.
PAS = re.compile(rb"qcom,[a-z0-9]+-[ac]dsp[0-9]*-pas")
FASTRPC = re.compile(rb"qcom,(kaanapali-)?fastrpc")
FASTRPC_LABEL = re.compile(rb"[ac]dsp[0-9]*")
# Section 3: three nodes, one device ("ONE /dev/accel/accel0").
ONE_DEVICE = (b"rockchip,rk3588-rknn-core",)

# Section 8, and the region of section 4: it belongs to an FPGA that its manager counts.
TRAPS = [
    (rb"renesas,tpu(-.*)?", "timer pulse unit"),
    (rb".*-vpu[0-9]*(-.*)?", "video codec or display"),
    (rb"cnm,coda[0-9]+.*", "video codec"),
    (rb".*-apu", "system controller"),
    (rb".*-npu-(grf|noc)", "system controller or interconnect"),
    (rb"arm,mali-(d[0-9]+|dp[0-9]+)", "display controller"),
    (rb"fsl,fpga-qixis.*|arm,vexpress-muxfpga|arm,versatile-fpga-irq", "board logic"),
    (rb"fsl,imx.*-ipu", "image processing unit"),
    (rb"brcm,.*-vc[0-9]+", "display pipeline"),
    (rb"fpga-region", "counted with its FPGA manager"),
]
ACCELERATOR_NAME = re.compile(rb"(gpu|npu|tpu|vpu|dsp|fpga|v3d)[0-9]*")


def matched(node):
    """(kind, compatible) if the node is, or is part of, an accelerator; else None."""
    if node.parent is None or labels.below_bookkeeping(node):
        return None  # a board is no device, a memory region neither
    base = node.name.partition(b"@")[0]
    for compatible in labels.compatibles(node) or []:
        if compatible in EXACT:
            return EXACT[compatible], compatible
        if compatible == VIVANTE and re.fullmatch(rb"(gpu|npu)[0-9]*", base):
            return base[:3].decode(), compatible
        if PAS.fullmatch(compatible):
            return "dsp", compatible
        if FASTRPC.fullmatch(compatible):
            label = fdt.string_of(node.properties.get(b"label", b""))
            if label is not None and FASTRPC_LABEL.fullmatch(label):
                return "dsp", compatible
    return None


def find(root):
    """(devices in order of address, traps)."""
    groups = {}  # what makes nodes one device -> [(node, kind, compatible)]
    traps = []
    for node in root.walk():
        match = matched(node)
        if match:
            kind, compatible = match
            whole = compatible if compatible in ONE_DEVICE else _device_node(node, compatible).path
            groups.setdefault(whole, []).append((node, kind, compatible))
        elif node.parent is not None:
            traps += _traps(node)
    devices = []
    for members in groups.values():
        members.sort(key=lambda member: member[0].path)
        _, kind, compatible = members[0]
        vendor = compatible.partition(b",")[0]
        devices.append(Device(kind, labels.RENAMED_VENDORS.get(vendor, vendor).decode(), compatible,
                              [node.path for node, _, _ in members],
                              any(labels.enabled(node) for node, _, _ in members)))
    return sorted(devices, key=lambda device: device.paths[0]), traps


def _device_node(node, compatible):
    """The remote processor that a fastrpc node belongs to; else the node itself."""
    if FASTRPC.fullmatch(compatible):
        above = node.parent
        while above is not None:
            if any(PAS.fullmatch(string) for string in labels.compatibles(above) or []):
                return above
            above = above.parent
    return node


def _traps(node):
    strings = labels.compatibles(node) or []
    found = [Trap(node.path, string, why) for string in strings for pattern, why in TRAPS
             if re.fullmatch(pattern, string)]
    if not found and ACCELERATOR_NAME.fullmatch(node.name.partition(b"@")[0]):
        if labels.below_bookkeeping(node):
            why = "a memory region, or what a boot loader left"
        else:
            why = "no entry knows it" if strings else "no compatible: a pin group or the like"
        found.append(Trap(node.path, strings[0] if strings else b"", why))
    return found


def add_labels(board, root):
    """Adds to the Labels of a board those of its enabled accelerators. Nothing is bound in a blob."""
    devices = [device for device in find(root)[0] if device.enabled]
    nodes = {node.path: node for node in root.walk()}
    for device in devices:
        for path in device.paths:
            if labels.enabled(nodes[path]):
                board.add_node(nodes[path])
    made = {}
    for kind, count in collections.Counter(device.kind for device in devices).items():
        made[f"accelerator.{kind}"] = 1
        made[f"accelerator.{kind}.count"] = count
    for device in devices:
        made[f"accelerator.{device.kind}.vendor.{device.vendor}"] = 1
    for name, value in sorted(made.items()):
        board.names[name.encode()] = None
        board.values[name.encode()] = b"%d" % value


def main():
    for path in sys.argv[1:]:
        devices, traps = find(fdt.parse(pathlib.Path(path).read_bytes()))
        for device in devices:
            state = "enabled" if device.enabled else "described"
            addresses = " ".join(node.decode("utf-8", "backslashreplace") for node in device.paths)
            print(f"{path}\t{state}\t{device.kind}\t{device.compatible.decode()}\t{addresses}")
        for trap in traps:
            print(f"{path}\ttrap\t{trap.why}\t{trap.compatible!r}\t{trap.path!r}")


if __name__ == "__main__":
    main()
