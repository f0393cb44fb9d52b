#!/usr/bin/env python3
"""Which accelerators a devicetree describes: an independent reading of facts/accelerators.md.

    accelerators.py BOARD.dtb...    one line per device, then one per trap

Not made from exporter/accelerators.yaml, and must never be: it is what that is compared with.
Where the facts leave a choice open (names of kinds, which node names are suspicious), the choice
that the catalogue states at its top is followed, and said here. What the catalogue knows from
other sources than the facts is in one table, BEYOND_THE_FACTS.
Devicetree only; PCI and USB have no blob.
"""

import collections
import pathlib
import re
import sys

import fdt
import labels

# A device: kind, vendor, the compatible that told, its address (the path of the first node that
# is enabled, else of the first), the paths of all its nodes, and whether it is enabled (one
# enabled node is enough).
Device = collections.namedtuple("Device", "kind vendor compatible address paths enabled")
# A node that looks like an accelerator and is none.
Trap = collections.namedtuple("Trap", "path compatible why")

# Sections 1 to 4: kind -> exact compatibles. The NXP tree's fsl,imx8mp-gpu of section 2 is left
# out: it is the node over the cores (with fsl,imx8-gpu-ss), and the cores are counted.
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
        fsl,imx8-gpu
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
        xlnx,dpuczdx8g-3.4 xlnx,dpuczdx8g-4.1 xlnx,DPUCZDX8G-4.1 xlnx,dpu-eu-2.0
    """,
    "tpu": "cvitek,tpu bitmain,tpu-1684 sophgo,sg2000-tpu",
    "dsp": "ti,am62a-c7xv-dsp ti,j721e-c66-dsp ti,j721e-c71-dsp ti,j721s2-c71-dsp",
    "vpu": "nvidia,tegra194-pva nvidia,tegra234-pva nvidia,tegra234-pva-hv",
    "fpga": """
        xlnx,zynqmp-pcap-fpga xlnx,versal-fpga xlnx,zynq-devcfg-1.0
        altr,socfpga-fpga-mgr altr,socfpga-a10-fpga-mgr
        intel,stratix10-soc-fpga-mgr intel,agilex-soc-fpga-mgr
        microchip,mpf-spi-fpga-mgr lattice,ice40-fpga-mgr lattice,sysconfig-ecp5
    """,
    # The facts name no kind for the Tegra engines of section 1: the catalogue calls all of them
    # video. No "vpu": that word is the Movidius' and the PVA's, and a codec's name in section 8.
    "video": " ".join([f"nvidia,tegra{n}-vic" for n in (124, 132, 186, 194, 210, 234)]
                      + [f"nvidia,tegra{n}-nvdec" for n in (186, 194, 210, 234)]
                      + [f"nvidia,tegra{n}-{e}" for n in (186, 194, 210) for e in ("nvenc", "nvjpg")]),
}
EXACT = {compatible.encode(): kind for kind, text in KINDS.items() for compatible in text.split()}
EXACT[b"amlogic, galcore"] = "npu"  # with its space

# What the program recognises, rightly, and the facts do not list: compatible -> (kind, why it is
# right). Every difference between the program and the facts over real blobs stands here; any
# other fails tests/system/test_debian_dtbs.py, and so does an entry that explains none.
BEYOND_THE_FACTS = {
    b"ti,omap3-c64": ("dsp", "binding arm/omap/dsp.txt: the C64x of OMAP3 (no driver in mainline)"),
    b"ti,omap4-dsp": ("dsp", "binding remoteproc/ti,omap-remoteproc.yaml, for offloaded tasks as the K3's"),
    b"ti,omap5-dsp": ("dsp", "binding remoteproc/ti,omap-remoteproc.yaml"),
    b"ti,dra7-dsp": ("dsp", "binding remoteproc/ti,omap-remoteproc.yaml"),
    b"amd,imageon": ("gpu", "binding display/msm/gpu.yaml: the Adreno's forerunner on i.MX51 and 53, same driver"),
    b"altr,fpga-passive-serial": ("fpga", "binding fpga/altr,fpga-passive-serial.yaml: a manager like the others"),
    b"qcom,sc8280xp-nsp1-pas": ("dsp", "the second CDSP; its twin nsp0 has the fastrpc that the facts go by"),
    b"qcom,msm8996-adsp-pil": ("dsp", "ADSP; in Linux 6.1 without the fastrpc that later trees have below it"),
    b"qcom,msm8996-slpi-pil": ("dsp", "the sensor DSP, Hexagon too: binding misc/qcom,fastrpc.yaml, label sdsp"),
    b"qcom,msm8998-slpi-pas": ("dsp", "the sensor DSP"),
    b"qcom,sm8150-slpi-pas": ("dsp", "the sensor DSP, with a fastrpc of label sdsp"),
    b"qcom,sm8250-slpi-pas": ("dsp", "the sensor DSP, with a fastrpc of label sdsp"),
    b"qcom,sm8350-slpi-pas": ("dsp", "the sensor DSP, with a fastrpc of label sdsp"),
    b"qcom,sm8450-slpi-pas": ("dsp", "the sensor DSP, with a fastrpc of label sdsp"),
}

# The vendor is the maker of the core: the compatible's prefix, renamed by the labels' table,
# but for chips that carry another's core and for makers that changed their name.
MAKERS = {b"fsl": b"vivante", b"amlogic": b"vivante",  # section 7, rule 4: galcore and etnaviv, same silicon
          b"cvitek": b"sophgo", b"bitmain": b"sophgo", b"kendryte": b"canaan"}

# Section 7, rule 1: only the name of the node tells; any other name leaves the kind open.
VIVANTE = b"vivante,gc"
# Section 3: in NXP's tree every core is an fsl,imx8-gpu, and the neural one this as well.
VIPSI = b"fsl,imx8-vipsi"
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
# Node names that are suspicious where no entry knows the node, as the catalogue has them.
ACCELERATOR_NAME = re.compile(rb"(gpu|npu|tpu|vpu|bpu|kpu|apu|ane|dla|nnp)[0-9]*")


def matched(node, facts_only=False):
    """(kind, compatible) if the node is, or is part of, an accelerator; else None."""
    if node.parent is None or labels.below_bookkeeping(node):
        return None  # a board is no device, a memory region neither
    strings = labels.compatibles(node) or []
    for compatible in strings:
        if compatible in EXACT:
            return "npu" if VIPSI in strings else EXACT[compatible], compatible
        if compatible == VIVANTE:
            name = re.fullmatch(rb"(gpu|npu)[0-9]*", _base_name(node))
            return name[1].decode() if name else "accelerator", compatible
        if PAS.fullmatch(compatible):
            return "dsp", compatible
        if FASTRPC.fullmatch(compatible):
            label = fdt.string_of(node.properties.get(b"label", b""))
            if label is not None and FASTRPC_LABEL.fullmatch(label):
                return "dsp", compatible
        if compatible in BEYOND_THE_FACTS and not facts_only:
            return BEYOND_THE_FACTS[compatible][0], compatible
    return None


def find(root, facts_only=False):
    """(devices in order of address, traps). With facts_only nothing of BEYOND_THE_FACTS."""
    groups = {}  # what makes nodes one device -> [(node, kind, compatible)]
    traps = []
    for node in root.walk():
        match = matched(node, facts_only)
        if match:
            kind, compatible = match
            if compatible in ONE_DEVICE:
                groups.setdefault(compatible, []).append((node, kind, compatible))
            else:
                whole = _device_node(node, compatible)
                if whole is not node:  # it stands for the node, also where no list knows that
                    compatible = labels.compatibles(whole)[0]
                groups.setdefault(whole.path, []).append((whole, kind, compatible))
        elif node.parent is not None:
            traps += _traps(node)
    devices = [_device(members) for members in groups.values()]
    return sorted(devices, key=lambda device: device.address), traps


def unrecognised(root):
    """The nodes that are enabled, called like an accelerator, and in no list."""
    return [node for node in root.walk()
            if labels.enabled(node) and labels.compatibles(node) and not labels.below_bookkeeping(node)
            and not matched(node) and ACCELERATOR_NAME.fullmatch(_base_name(node))
            and not any(is_trap(string) for string in labels.compatibles(node))]


def is_trap(compatible):
    return any(re.fullmatch(pattern, compatible) for pattern, _ in TRAPS)


def _device(members):
    members = sorted(members, key=lambda member: (not labels.enabled(member[0]), member[0].path))
    first, kind, compatible = members[0]
    vendor = compatible.partition(b",")[0]
    vendor = MAKERS.get(vendor, labels.RENAMED_VENDORS.get(vendor, vendor)).decode()
    paths = sorted({node.path for node, _, _ in members})
    return Device(kind, vendor, compatible, first.path, paths, labels.enabled(first))


def _device_node(node, compatible):
    """The remote processor that a fastrpc node belongs to, which is above its edge; else the node."""
    above = node
    while FASTRPC.fullmatch(compatible) and above.parent is not None:
        if above.name in (b"glink-edge", b"smd-edge"):
            return above.parent
        above = above.parent
    return node


def _base_name(node):
    return node.name.partition(b"@")[0]


def _traps(node):
    strings = labels.compatibles(node) or []
    found = [Trap(node.path, string, why) for string in strings for pattern, why in TRAPS
             if re.fullmatch(pattern, string)]
    if not found and ACCELERATOR_NAME.fullmatch(_base_name(node)):
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
            addresses = " ".join(path.decode("utf-8", "backslashreplace") for path in device.paths)
            print(f"{path}\t{state}\t{device.kind}\t{device.compatible.decode()}\t{addresses}")
        for trap in traps:
            print(f"{path}\ttrap\t{trap.why}\t{trap.compatible!r}\t{trap.path!r}")


if __name__ == "__main__":
    main()
