#include "exporter/projections/inventory_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using test_support::MakeInventory;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;  // the order of members counts too

const BuildInfo kBuild{"1.2.3", "abc", "gcc 12"};

std::string Text(const Inventory& inventory, const LabelRules& rules = {}) {
  return ToInventoryJson(inventory, ToLabels(inventory, rules), kBuild);
}

// A machine on which everything was found that there is to say.
Inventory Full() {
  Inventory inventory = MakeInventory(
      {.compatible = {"nvidia,tegra210", ",,,"},
       .model = "A \"board\"",
       .children = {{.name = "cpu@0", .compatible = {"arm,a57"}, .status = "disabled"},
                    {.name = "cpu@1", .raw_compatible = "not terminated"},
                    {.name = "cpu@2", .compatible = {"arm,a53", "arm,v8"}}}});
  inventory.read_at = std::chrono::system_clock::time_point(std::chrono::seconds(1'000'000'000));
  Accelerator gpu;
  gpu.kind = "gpu";
  gpu.bus = Bus::kPci;
  gpu.address = "0000:01:00.0";
  gpu.vendor = "nvidia";
  gpu.model = "h100";
  gpu.compatible = "pci10de,2330";
  gpu.compatibles = {"pci10de,2330", "pciclass,0302"};
  gpu.driver = "nvidia";
  gpu.numa_node = 0;
  gpu.enabled = gpu.bound = true;
  gpu.enabled_reason = "it is on the bus";
  gpu.bound_reason = "driver nvidia";
  gpu.ready_reason = "no class device";
  Accelerator off;
  off.kind = "npu";
  off.address = "/npu";
  off.compatible = "acme,npu";
  off.compatibles = {"acme,npu"};
  off.enabled_reason = "status disabled of /npu";
  off.bound_reason = off.ready_reason = "not enabled";
  inventory.accelerators = {off, gpu};
  inventory.unrecognised = {{"/tpu", "acme,tpu"}};
  inventory.collectors = {
      {"pci", false, std::chrono::milliseconds(250), 2, {"/sys/bus/pci: permission denied"}}};
  return inventory;
}

TEST(InventoryJson, SaysEverythingThatIsKnown) {
  const std::string text = Text(Full(), {.prefix = "x", .nodes = {"cpu"}});
  Json json = Json::parse(text);
  EXPECT_EQ(json["devicetree"]["fingerprint"].get<std::string>().size(), 16U);
  json["devicetree"]["fingerprint"] = "";
  EXPECT_EQ(json, Json::parse(R"({
    "schema_version": 1,
    "build": {"version": "1.2.3", "revision": "abc", "compiler": "gcc 12"},
    "snapshot_time": "2001-09-09T01:46:40Z",
    "devicetree": {
      "present": true,
      "model": "A \"board\"",
      "compatible": ["nvidia,tegra210", ",,,"],
      "fingerprint": "",
      "nodes": {"okay": 3, "disabled": 1, "reserved": 0, "fail": 0, "other": 0}
    },
    "labels": [
      {"key": "x/nvidia-tegra210", "value": "1", "compatible": "nvidia,tegra210", "from": ["/"]},
      {"key": "x/arm-a53", "value": "1", "compatible": "arm,a53", "from": ["/cpu@2"]},
      {"key": "x/arm-v8", "value": "1", "compatible": "arm,v8", "from": ["/cpu@2"]},
      {"key": "x/pci10de-2330", "value": "1", "compatible": "pci10de,2330",
       "from": ["0000:01:00.0"]},
      {"key": "x/pciclass-0302", "value": "1", "compatible": "pciclass,0302",
       "from": ["0000:01:00.0"]},
      {"key": "x/accelerator.gpu", "value": "1", "from": ["0000:01:00.0"]},
      {"key": "x/accelerator.gpu.count", "value": "1", "from": ["0000:01:00.0"]},
      {"key": "x/accelerator.gpu.driver.nvidia", "value": "1", "from": ["0000:01:00.0"]},
      {"key": "x/accelerator.gpu.vendor.nvidia", "value": "1", "from": ["0000:01:00.0"]}
    ],
    "rejected": [
      {"compatible": ",,,", "path": "/", "reason": "empty",
       "detail": "no letter or digit; at least one expected"},
      {"path": "/cpu@1", "reason": "malformed",
       "detail": "/cpu@1: compatible: no terminating NUL"}
    ],
    "designated_nodes": [
      {"path": "/cpu@0", "enabled": false, "compatibles": [{"compatible": "arm,a57"}]},
      {"path": "/cpu@1", "enabled": true},
      {"path": "/cpu@2", "enabled": true,
       "compatibles": [{"compatible": "arm,a53", "label_key": "x/arm-a53"},
                       {"compatible": "arm,v8", "label_key": "x/arm-v8"}]}
    ],
    "accelerators": [
      {"kind": "npu", "bus": "devicetree", "address": "/npu", "compatible": "acme,npu",
       "compatibles": ["acme,npu"], "described": true, "enabled": false,
       "enabled_reason": "status disabled of /npu", "bound": false,
       "bound_reason": "not enabled", "ready": false, "ready_reason": "not enabled"},
      {"kind": "gpu", "vendor": "nvidia", "model": "h100", "bus": "pci",
       "address": "0000:01:00.0", "compatible": "pci10de,2330",
       "compatibles": ["pci10de,2330", "pciclass,0302"], "driver": "nvidia", "numa_node": 0,
       "described": true, "enabled": true, "enabled_reason": "it is on the bus",
       "bound": true, "bound_reason": "driver nvidia", "ready": false,
       "ready_reason": "no class device", "label_key": "x/pci10de-2330"}
    ],
    "unrecognised_nodes": [{"path": "/tpu", "compatible": "acme,tpu"}],
    "collectors": [
      {"name": "pci", "success": false, "skipped_devices": 2, "duration_seconds": 0.25,
       "problems": ["/sys/bus/pci: permission denied"]}
    ]
  })"))
      << text;
}

TEST(InventoryJson, LeavesOutWhatIsNotKnown) {
  EXPECT_EQ(Text(Inventory{}), R"({
  "schema_version": 1,
  "build": {
    "version": "1.2.3",
    "revision": "abc",
    "compiler": "gcc 12"
  },
  "snapshot_time": "1970-01-01T00:00:00Z",
  "labels": [],
  "rejected": [],
  "designated_nodes": [],
  "accelerators": [],
  "unrecognised_nodes": [],
  "collectors": []
}
)");
}

TEST(InventoryJson, SaysThatAMachineHasNoDevicetree) {
  Inventory inventory;
  inventory.devicetree_known = true;
  EXPECT_THAT(Text(inventory), HasSubstr("\"devicetree\": {\n    \"present\": false\n  }"));
}

TEST(InventoryJson, LeavesOutAModelThatIsEmpty) {
  EXPECT_THAT(Text(MakeInventory({.compatible = {"a,b"}, .model = ""})), Not(HasSubstr("model")));
}

TEST(InventoryJson, ShowsStrayBytesAsTheMetricsDo) {
  EXPECT_THAT(Text(MakeInventory({.compatible = {"a,b"}, .model = "q\" b\\ n\n \xff \u2028"})),
              HasSubstr("\"model\": \"q\\\" b\\\\ n\\\\x0a \\\\xff \u2028\""));
}

}  // namespace
}  // namespace exporter
