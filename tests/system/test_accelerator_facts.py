"""Every devicetree row of the collected facts, in one made-up tree: real blobs hold a few of them only.

Expected: tests/oracle/accelerators.py, which is made from the facts and not from the catalogue.
"""

import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

import accelerators
import fdt
from test_debian_dtbs import explained, of_oracle, run, wrong_accelerators

# Section 7, rule 1, and the cores of NXP's own tree.
NAMED = [("gpu", "vivante,gc"), ("npu", "vivante,gc"), ("engine", "vivante,gc"),
         ("vipsi", "fsl,imx8-gpu", "fsl,imx8-vipsi"), ("mix-gpu-ml", "fsl,imx8mp-gpu", "fsl,imx8-gpu-ss")]
# Section 8 and the traps of sections 3 and 4, under the most inviting of names.
TRAPS = """
    renesas,tpu renesas,tpu-r8a7740 rockchip,rk3568-vpu nxp,imx8mq-vpu-g1 amlogic,meson-gx-vpu mediatek,mt8173-vpu
    cnm,coda960 mediatek,mt8365-apu rockchip,rk3576-npu-grf fsl,imx8mp-vpu-blk-ctrl qcom,sm8250-npu-noc
    arm,mali-d71 arm,mali-d32 arm,mali-dp500 arm,mali-dp550 arm,mali-dp650
    fsl,fpga-qixis arm,vexpress-muxfpga arm,versatile-fpga-irq fsl,imx6q-ipu fpga-region
""".split()
HEXAGON = """
    remoteproc@{n} {{
        compatible = "qcom,sm8550-{domain}-pas";
        status = "{status}";
        glink-edge {{ fastrpc {{ compatible = "qcom,{fastrpc}"; label = "{domain}"; }}; }};
    }};"""


def source(status):
    lists = [[compatible.decode()] for compatible in sorted(accelerators.EXACT)]
    nodes = [("engine", *strings) for strings in lists] + NAMED + [("npu", trap) for trap in TRAPS]
    text = "".join(f"""
    {name}@{number:x} {{
        compatible = {", ".join(f'"{string}"' for string in strings)};
        status = "{status}";
    }};""" for number, (name, *strings) in enumerate(nodes))
    text += HEXAGON.format(n="f001", domain="cdsp", fastrpc="fastrpc", status=status)
    text += HEXAGON.format(n="f002", domain="adsp", fastrpc="kaanapali-fastrpc", status=status)
    return f'/dts-v1/;\n/ {{\n    compatible = "acme,everything";{text}\n}};\n'


@pytest.mark.parametrize("status", ["okay", "disabled"])
def test_the_program_knows_every_row_of_the_facts_and_no_trap(status, tmp_path):
    blob, empty = tmp_path / "all.dtb", tmp_path / "empty"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob], input=source(status).encode(), check=True)
    empty.mkdir()
    root = fdt.parse(blob.read_bytes())
    assert len(of_oracle(root, facts_only=True)) >= 100
    code, text, errors = run(blob, empty, "--explain")
    assert (code, errors) == (0, b"")
    assert wrong_accelerators(root, *explained(text.decode())) == []
