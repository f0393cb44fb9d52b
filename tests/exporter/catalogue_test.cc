#include "exporter/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;
using ::testing::StartsWith;

// The message that refuses `text`; "taken" if none does.
std::string Refusal(std::string_view text) {
  const dt::Result<Catalogue> catalogue = ParseCatalogue(text, "f.yaml");
  if (catalogue) return "taken";
  EXPECT_EQ(catalogue.error().code, dt::ErrorCode::kMalformed);
  return catalogue.error().message;
}

Catalogue Parsed(std::string_view text, const std::string& file = "f.yaml") {
  dt::Result<Catalogue> catalogue = ParseCatalogue(text, file);
  EXPECT_TRUE(catalogue) << catalogue.error().message;
  return catalogue ? std::move(catalogue).value() : Catalogue{};
}

// A catalogue with one entry that is good but for what `lines` add or break.
std::string Entry(const std::string& line, const std::string& compatibles = "[\"acme,npu\"]") {
  return "version: 1\naccelerators:\n  - compatibles: " + compatibles +
         "\n    kind: npu\n    vendor: acme\n    " + line + "\n";
}

std::vector<std::string> AllIds(const CatalogueEntry& entry) {
  std::vector<std::string> ids;
  for (const auto* list : {&entry.compatibles, &entry.same_device, &entry.virtual_functions}) {
    ids.insert(ids.end(), list->begin(), list->end());
  }
  return ids;
}

// --- The file format

TEST(Catalogue, OfAVersionAloneIsEmpty) {
  const Catalogue catalogue = Parsed("version: 1\n");
  EXPECT_THAT(catalogue.entries, IsEmpty());
  EXPECT_THAT(catalogue.drivers, IsEmpty());
  EXPECT_THAT(catalogue.deny, IsEmpty());
}

TEST(Catalogue, HoldsWhatTheFileSays) {
  const Catalogue catalogue = Parsed(R"(version: 1
drivers:
  apex:
    ready: {class: apex, name: "apex_*", below: device}
  etnaviv-gpu:
    ready: {class: drm, name: "renderD*", below: {drivers: [etnaviv]}}
  rocket:
    ready: {class: accel, name: "accel*", below: {devices: [rknn]}}
  neuron-driver:
    ready: {class: neuron_device, name: "neuron*", below: any}
passthrough-drivers: [vfio-pci]
accelerators:
  - compatibles: ["vivante,gc", "vivante,gc2"]
    bus: devicetree
    node-names: [npu]
    kind: npu
    vendor: vivante
    models: {"vivante,gc": vip}
    model: other
    unit: machine
    ready: {class: misc, name: x, below: any}
  - compatibles: ["pci1022,17f0"]
    pci-revisions: ["0a", "10"]
    pci-subsystem-devices: ["004e"]
    virtual-functions: ["pci1022,17f1"]
    kind: npu
    vendor: amd
  - {compatibles: ["usb1a6e,89a"], same-device: ["usb18d1,9302"], kind: tpu, vendor: google, unit: node}
classes:
  - {compatible: "pciclass,0300", kind: gpu, otherwise: display}
  - {compatible: "pciclass,1200", kind: accelerator}
pci-vendors:
  "10de": {name: nvidia, gpu: true}
  "1a03": {name: aspeed, gpu: false}
deny: ["renesas,tpu-*"]
unrecognised-names: [gpu, npu]
)");
  EXPECT_EQ(catalogue.drivers.at("apex").below, Interface::Below::kDevice);
  EXPECT_EQ(catalogue.drivers.at("apex").class_name, "apex");
  EXPECT_EQ(catalogue.drivers.at("apex").name, "apex_*");
  EXPECT_EQ(catalogue.drivers.at("etnaviv-gpu").below, Interface::Below::kDrivers);
  EXPECT_THAT(catalogue.drivers.at("etnaviv-gpu").parents, ElementsAre("etnaviv"));
  EXPECT_EQ(catalogue.drivers.at("rocket").below, Interface::Below::kDevices);
  EXPECT_THAT(catalogue.drivers.at("rocket").parents, ElementsAre("rknn"));
  EXPECT_EQ(catalogue.drivers.at("neuron-driver").below, Interface::Below::kAny);
  EXPECT_THAT(catalogue.passthrough_drivers, ElementsAre("vfio-pci"));
  ASSERT_THAT(catalogue.entries, SizeIs(3));
  const CatalogueEntry& vivante = catalogue.entries[0];
  EXPECT_EQ(vivante.bus, Bus::kDevicetree);
  EXPECT_THAT(vivante.node_names, ElementsAre("npu"));
  EXPECT_EQ(vivante.models.at("vivante,gc"), "vip");
  EXPECT_EQ(vivante.model, "other");
  EXPECT_TRUE(vivante.one_per_machine);
  ASSERT_TRUE(vivante.ready);
  EXPECT_EQ(vivante.ready->class_name, "misc");
  EXPECT_EQ(vivante.place, "f.yaml:13");
  const CatalogueEntry& amd = catalogue.entries[1];
  EXPECT_EQ(amd.bus, Bus::kPci);
  EXPECT_THAT(amd.pci_revisions, ElementsAre("0a", "10"));
  EXPECT_THAT(amd.pci_subsystem_devices, ElementsAre("004e"));
  EXPECT_THAT(amd.virtual_functions, ElementsAre("pci1022,17f1"));
  EXPECT_EQ(amd.model, std::nullopt);
  EXPECT_FALSE(amd.one_per_machine);
  EXPECT_EQ(catalogue.entries[2].bus, Bus::kUsb);
  EXPECT_THAT(catalogue.entries[2].same_device, ElementsAre("usb18d1,9302"));
  ASSERT_THAT(catalogue.classes, SizeIs(2));
  EXPECT_EQ(catalogue.classes[0].otherwise, "display");
  EXPECT_EQ(catalogue.classes[1].otherwise, std::nullopt);
  EXPECT_EQ(catalogue.classes[1].place, "f.yaml:31");
  EXPECT_TRUE(catalogue.pci_vendors.at("10de").makes_gpus);
  EXPECT_FALSE(catalogue.pci_vendors.at("1a03").makes_gpus);
  EXPECT_THAT(catalogue.deny, ElementsAre("renesas,tpu-*"));
  EXPECT_THAT(catalogue.unrecognised_names, ElementsAre("gpu", "npu"));
}

TEST(Catalogue, GivesTheClassesOfAllItsInterfacesOnce) {
  const Catalogue catalogue = Parsed(R"(version: 1
drivers:
  a: {ready: {class: drm, name: "*", below: device}}
  b: {ready: {class: accel, name: "*", below: device}}
  c: {ready: {class: drm, name: "*", below: any}}
accelerators:
  - {compatibles: ["a,b"], kind: npu, vendor: a, ready: {class: misc, name: x, below: any}}
)");
  EXPECT_THAT(InterfaceClasses(catalogue), testing::UnorderedElementsAre("accel", "drm", "misc"));
}

TEST(Catalogue, GoodOnesAreTaken) {
  const std::string good[] = {
      Entry("model: npu-1.0"),
      Entry("bus: devicetree"),
      Entry("bus: pci", "[\"pci1ac1,89a\"]"),
      Entry("bus: usb", "[\"usb1a6e,89a\"]"),
      Entry("unit: node"),
      Entry("model: x", "[\"amlogic, galcore\"]"),
      Entry("model: x", "[\"pciehost,acme\"]"),  // no PCI id, though it begins like one
      "version: 1\nclasses: [{compatible: \"pciclass,120000\", kind: accelerator}]\n",
  };
  for (const std::string& text : good) EXPECT_EQ(Refusal(text), "taken") << text;
}

TEST(Catalogue, BadOnesSayWhereWhatAndWhatWasExpected) {
  const std::pair<std::string, const char*> bad[] = {
      // The document.
      {"", "f.yaml:1:1: nothing; expected a mapping"},
      {"[]\n", "f.yaml:1:1: a list; expected a mapping"},
      {"deny: [a]\n",
       "f.yaml:1:1: no version; expected version, drivers, passthrough-drivers, accelerators, "
       "classes, pci-vendors, deny, unrecognised-names"},
      {"version: 1\ndenny: [a]\n",
       "f.yaml:2:1: unknown key \"denny\"; expected version, drivers, passthrough-drivers, "
       "accelerators, classes, pci-vendors, deny, unrecognised-names"},
      {"version: 2\n", "f.yaml:1:10: \"2\"; expected 1"},
      {"version: [1]\n", "f.yaml:1:10: a list; expected 1"},
      {"version: 1\nversion: 1\n", "f.yaml:2:1: the key \"version\" stands here a second time"},
      // drivers
      {"version: 1\ndrivers: [a]\n", "f.yaml:2:10: a list; expected a mapping"},
      {"version: 1\ndrivers: {a: b}\n", "f.yaml:2:14: \"b\"; expected a mapping"},
      {"version: 1\ndrivers: {a: {}}\n", "f.yaml:2:14: no ready; expected ready"},
      {"version: 1\ndrivers: {a: {raedy: 1}}\n",
       "f.yaml:2:15: unknown key \"raedy\"; expected ready"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: y}}}\n",
       "f.yaml:2:22: no below; expected class, name, below"},
      {"version: 1\ndrivers: {a: {ready: {class: x, below: any}}}\n",
       "f.yaml:2:22: no name; expected class, name, below"},
      {"version: 1\ndrivers: {a: {ready: {name: x, below: any}}}\n",
       "f.yaml:2:22: no class; expected class, name, below"},
      {"version: 1\ndrivers: {a: {ready: {class: [], name: y, below: any}}}\n",
       "f.yaml:2:30: a list; expected text"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: \"\", below: any}}}\n",
       "f.yaml:2:39: \"\"; expected text"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: y, below: above}}}\n",
       "f.yaml:2:49: \"above\"; expected device, any, {drivers: [...]} or {devices: [...]}"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: y, below: {}}}}\n",
       "f.yaml:2:49: a mapping; expected device, any, {drivers: [...]} or {devices: [...]}"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: y, below: {drivers: [a], devices: "
       "[b]}}}}\n",
       "f.yaml:2:49: a mapping; expected device, any, {drivers: [...]} or {devices: [...]}"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: y, below: {drivers: []}}}}\n",
       "f.yaml:2:59: a list; expected a list of at least one"},
      {"version: 1\ndrivers: {a: {ready: {class: x, name: y, below: {busses: [a]}}}}\n",
       "f.yaml:2:50: unknown key \"busses\"; expected drivers, devices"},
      // lists of text
      {"version: 1\npassthrough-drivers: vfio-pci\n",
       "f.yaml:2:22: \"vfio-pci\"; expected a list of at least one"},
      {"version: 1\npassthrough-drivers: [{}]\n", "f.yaml:2:23: a mapping; expected text"},
      {"version: 1\ndeny: [\"\"]\n", "f.yaml:2:8: \"\"; expected text"},
      {"version: 1\nunrecognised-names: [[npu]]\n", "f.yaml:2:22: a list; expected text"},
      // accelerators
      {"version: 1\naccelerators: {}\n", "f.yaml:2:15: a mapping; expected a list of at least one"},
      {"version: 1\naccelerators: [a]\n", "f.yaml:2:16: \"a\"; expected a mapping"},
      {"version: 1\naccelerators:\n  - {kind: npu, vendor: acme}\n",
       "f.yaml:3:5: no compatibles; expected compatibles, kind, vendor, model, models, bus, "
       "node-names, pci-revisions, pci-subsystem-devices, unit, same-device, virtual-functions, "
       "ready"},
      {"version: 1\naccelerators:\n  - {compatibles: [\"a,b\"], vendor: acme}\n",
       "f.yaml:3:5: no kind; expected compatibles, kind, vendor, model, models, bus, node-names, "
       "pci-revisions, pci-subsystem-devices, unit, same-device, virtual-functions, ready"},
      {"version: 1\naccelerators:\n  - {compatibles: [\"a,b\"], kind: npu}\n",
       "f.yaml:3:5: no vendor; expected compatibles, kind, vendor, model, models, bus, "
       "node-names, pci-revisions, pci-subsystem-devices, unit, same-device, virtual-functions, "
       "ready"},
      {Entry("modell: x"),
       "f.yaml:6:5: unknown key \"modell\"; expected compatibles, kind, vendor, model, models, "
       "bus, node-names, pci-revisions, pci-subsystem-devices, unit, same-device, "
       "virtual-functions, ready"},
      {Entry("", "acme"), "f.yaml:3:18: \"acme\"; expected a list of at least one"},
      {Entry("", "[]"), "f.yaml:3:18: a list; expected a list of at least one"},
      {Entry("", "[{a: b}]"), "f.yaml:3:19: a mapping; expected text"},
      {Entry("model: Big One"), "f.yaml:6:12: \"Big One\"; expected a word of a-z, 0-9, - and ."},
      {Entry("models: [a]"), "f.yaml:6:13: a list; expected a mapping"},
      {Entry("models: {\"acme,npu\": \"\"}"),
       "f.yaml:6:26: \"\"; expected a word of a-z, 0-9, - and ."},
      {Entry("models: {\"acme,tpu\": x}"),
       "f.yaml:6:13: a model for \"acme,tpu\", which is not in compatibles"},
      {Entry("bus: spi"), "f.yaml:6:10: \"spi\"; expected devicetree, pci or usb"},
      {Entry("bus: pci"), "f.yaml:3:5: bus pci, but its compatibles are of devicetree"},
      {Entry("model: x", "[\"acme,npu\", \"pci1ac1,89a\"]"),
       "f.yaml:3:5: compatibles of more than one bus: \"pci1ac1,89a\""},
      {Entry("node-names: npu"), "f.yaml:6:17: \"npu\"; expected a list of at least one"},
      {Entry("pci-revisions: [\"0A\"]"),
       "f.yaml:6:21: \"0A\"; expected 2 lower-case hexadecimal digits"},
      {Entry("pci-revisions: [\"0x0a\"]"),
       "f.yaml:6:21: \"0x0a\"; expected 2 lower-case hexadecimal digits"},
      {Entry("pci-revisions: [a]"), "f.yaml:6:21: \"a\"; expected 2 lower-case hexadecimal digits"},
      {Entry("pci-subsystem-devices: [4e]"),
       "f.yaml:6:29: \"4e\"; expected 4 lower-case hexadecimal digits"},
      {Entry("unit: core"), "f.yaml:6:11: \"core\"; expected node or machine"},
      {Entry("same-device: x"), "f.yaml:6:18: \"x\"; expected a list of at least one"},
      {Entry("virtual-functions: {}"), "f.yaml:6:24: a mapping; expected a list of at least one"},
      {Entry("ready: device"), "f.yaml:6:12: \"device\"; expected a mapping"},
      // classes
      {"version: 1\nclasses: {}\n", "f.yaml:2:10: a mapping; expected a list of at least one"},
      {"version: 1\nclasses: [{compatible: \"pci1,2\", kind: gpu}]\n",
       "f.yaml:2:24: \"pci1,2\"; expected pciclass, and four or six lower-case hexadecimal digits"},
      {"version: 1\nclasses: [{compatible: \"pciclass,0302\"}]\n",
       "f.yaml:2:11: no kind; expected compatible, kind, otherwise"},
      {"version: 1\nclasses: [{kind: gpu}]\n",
       "f.yaml:2:11: no compatible; expected compatible, kind, otherwise"},
      {"version: 1\nclasses: [{compatible: \"pciclass,0302\", kind: GPU}]\n",
       "f.yaml:2:47: \"GPU\"; expected a word of a-z, 0-9, - and ."},
      {"version: 1\nclasses: [{compatible: \"pciclass,0302\", kind: gpu, otherwise: [a]}]\n",
       "f.yaml:2:63: a list; expected a word of a-z, 0-9, - and ."},
      // pci-vendors
      {"version: 1\npci-vendors: [a]\n", "f.yaml:2:14: a list; expected a mapping"},
      {"version: 1\npci-vendors: {\"10DE\": {name: nvidia}}\n",
       "f.yaml:2:15: \"10DE\"; expected 4 lower-case hexadecimal digits"},
      {"version: 1\npci-vendors: {\"10de\": nvidia}\n",
       "f.yaml:2:23: \"nvidia\"; expected a mapping"},
      {"version: 1\npci-vendors: {\"10de\": {gpu: true}}\n",
       "f.yaml:2:23: no name; expected name, gpu"},
      {"version: 1\npci-vendors: {\"10de\": {name: NVIDIA}}\n",
       "f.yaml:2:30: \"NVIDIA\"; expected a word of a-z, 0-9, - and ."},
      {"version: 1\npci-vendors: {\"10de\": {name: nvidia, gpu: yes}}\n",
       "f.yaml:2:43: \"yes\"; expected true or false"},
  };
  for (const auto& [text, message] : bad) EXPECT_EQ(Refusal(text), message) << text;
}

TEST(Catalogue, AKeyWithoutAValueIsNamedByItsOwnLine) {
  EXPECT_THAT(Refusal("version: 1\ndeny:\n\nunrecognised-names: [npu]\n"),
              testing::MatchesRegex("f\\.yaml:2:[0-9]+: nothing; expected a list of at least one"));
  EXPECT_THAT(Refusal(Entry("model:")),
              testing::MatchesRegex("f\\.yaml:6:[0-9]+: nothing; expected a word of .*"));
}

// A key or value that can have no effect is an error, never silence.
TEST(Catalogue, AnIdWithLeadingZerosOrUpperCaseMatchesNothingAndIsRefused) {
  for (const char* id : {"pci1ac1,089a", "pci0014,7a15", "usb1a6e,089a", "usb03e7,2150",
                         "pci1AC1,89A", "usb1A6E,89A", "pci10de,2b000"}) {
    EXPECT_THAT(Refusal(Entry("model: x", "[\"" + std::string(id) + "\"]")),
                StartsWith("f.yaml:3:"))
        << id;
  }
}

TEST(Catalogue, AClassWithoutFourOrSixDigitsMatchesNothingAndIsRefused) {
  for (const char* id : {"pciclass,", "pciclass,zz", "pciclass,03", "pciclass,03020",
                         "pciclass,0B40", "pciclass,0302000"}) {
    EXPECT_EQ(
        Refusal("version: 1\nclasses: [{compatible: \"" + std::string(id) + "\", kind: gpu}]\n"),
        "f.yaml:2:24: \"" + std::string(id) + "\"; expected pciclass, and four or six lower-case hexadecimal digits");
  }
}

TEST(Catalogue, ARevisionOrSubsystemOfWhatIsNotPciMatchesNothingAndIsRefused) {
  EXPECT_THAT(Refusal(Entry("pci-revisions: [\"10\"]")), StartsWith("f.yaml:"));
  EXPECT_THAT(Refusal(Entry("pci-subsystem-devices: [\"004e\"]")), StartsWith("f.yaml:"));
}

TEST(Catalogue, ANodeNameOfWhatIsNoNodeMatchesNothingAndIsRefused) {
  EXPECT_THAT(Refusal(Entry("node-names: [npu]", "[\"pci1ac1,89a\"]")), StartsWith("f.yaml:"));
}

TEST(Catalogue, OtherIdsOfADeviceAreOfItsBus) {
  EXPECT_THAT(Refusal(Entry("same-device: [\"acme,npu\"]", "[\"usb1a6e,89a\"]")),
              StartsWith("f.yaml:"));
  EXPECT_THAT(Refusal(Entry("virtual-functions: [\"acme,npu\"]", "[\"pci1ac1,89a\"]")),
              StartsWith("f.yaml:"));
}

// The contract's forms for the catalogue's rules: with subsystem and revision too.
TEST(Catalogue, AnIdWithSubsystemOrRevisionIsOfPci) {
  for (const char* id : {"pci1ac1,89a.1ac1.89a", "pci1ac1,89a.1ac1.89a.1"}) {
    const Catalogue catalogue = Parsed(Entry("model: x", "[\"" + std::string(id) + "\"]"));
    ASSERT_THAT(catalogue.entries, SizeIs(1));
    EXPECT_EQ(catalogue.entries[0].bus, Bus::kPci) << id;
  }
}

// Kinds are part of a label's name, accelerator.<kind>.count, of at most 63 characters,
// which ends with a letter or a digit.
TEST(Catalogue, AKindFitsIntoALabel) {
  const auto refusal = [](const std::string& kind) {
    return Refusal(
        "version: 1\naccelerators:\n  - {compatibles: [\"a,b\"], vendor: a, kind: " + kind + "}\n");
  };
  EXPECT_EQ(refusal(std::string(63 - 12 - 6, 'k')), "taken");
  for (const std::string& kind :
       {std::string("gpu-"), std::string("gpu."), std::string("."), std::string(46, 'k')}) {
    EXPECT_THAT(refusal(kind), StartsWith("f.yaml:3:45: \"" + kind + "\"; expected ")) << kind;
  }
}

TEST(Catalogue, AKindIsNotCalledLikeAnotherLabel) {
  for (const char* kind : {"gpu.count", "gpu.vendor.acme", "gpu.driver.acme"}) {
    EXPECT_THAT(
        Refusal("version: 1\naccelerators:\n  - {compatibles: [\"a,b\"], vendor: a, kind: " +
                std::string(kind) + "}\n"),
        StartsWith("f.yaml:3:45: "))
        << kind;
  }
}

// --- A file laid over the built-in catalogue

TEST(Catalogue, EntriesOfTheExtraFileComeFirst) {
  const Catalogue both = Extend(
      Parsed("version: 1\naccelerators: [{compatibles: [\"a,b\"], kind: npu, vendor: old}]\n"),
      Parsed("version: 1\naccelerators: [{compatibles: [\"a,b\"], kind: gpu, vendor: new}]\n"));
  ASSERT_THAT(both.entries, SizeIs(2));
  EXPECT_EQ(both.entries[0].vendor, "new");
  const auto [begin, end] = both.by_compatible.equal_range("a,b");
  ASSERT_EQ(std::distance(begin, end), 2);
  EXPECT_EQ(begin->second, 0U);
}

TEST(Catalogue, ClassRulesOfTheExtraFileComeFirst) {
  const Catalogue both =
      Extend(Parsed("version: 1\nclasses: [{compatible: \"pciclass,0302\", kind: gpu}]\n"),
             Parsed("version: 1\nclasses: [{compatible: \"pciclass,0302\", kind: npu}]\n"));
  ASSERT_THAT(both.classes, SizeIs(2));
  EXPECT_EQ(both.classes[0].kind, "npu");
}

TEST(Catalogue, DriversAndVendorsOfTheExtraFileReplaceThoseOfTheSameName) {
  const Catalogue both =
      Extend(Parsed("version: 1\n"
                    "drivers:\n"
                    "  a: {ready: {class: old, name: x, below: any}}\n"
                    "  b: {ready: {class: kept, name: x, below: any}}\n"
                    "pci-vendors: {\"0001\": {name: old, gpu: true}, \"0002\": {name: kept}}\n"),
             Parsed("version: 1\n"
                    "drivers: {a: {ready: {class: new, name: x, below: any}}}\n"
                    "pci-vendors: {\"0001\": {name: new}}\n"));
  EXPECT_EQ(both.drivers.at("a").class_name, "new");
  EXPECT_EQ(both.drivers.at("b").class_name, "kept");
  EXPECT_EQ(both.pci_vendors.at("0001").name, "new");
  EXPECT_FALSE(both.pci_vendors.at("0001").makes_gpus);
  EXPECT_EQ(both.pci_vendors.at("0002").name, "kept");
}

TEST(Catalogue, ListsOfTheExtraFileAddToTheOthers) {
  const Catalogue both =
      Extend(Parsed("version: 1\ndeny: [a]\npassthrough-drivers: [b]\nunrecognised-names: [c]\n"),
             Parsed("version: 1\ndeny: [d]\npassthrough-drivers: [e]\nunrecognised-names: [f]\n"));
  EXPECT_THAT(both.deny, testing::UnorderedElementsAre("a", "d"));
  EXPECT_THAT(both.passthrough_drivers, testing::UnorderedElementsAre("b", "e"));
  EXPECT_THAT(both.unrecognised_names, testing::UnorderedElementsAre("c", "f"));
}

TEST(Catalogue, AnEmptyExtraFileChangesNothing) {
  const Catalogue base = BuiltInCatalogue();
  const Catalogue both = Extend(base, Parsed("version: 1\n"));
  EXPECT_EQ(both.entries.size(), base.entries.size());
  EXPECT_EQ(both.by_compatible, base.by_compatible);
  EXPECT_EQ(both.drivers.size(), base.drivers.size());
  EXPECT_EQ(both.deny, base.deny);
}

// --- The catalogue that is built in

class BuiltIn : public testing::Test {
 protected:
  const Catalogue catalogue_ = BuiltInCatalogue();
  const std::string text_ = ReadYamlFile(SOURCE_DIR "/exporter/accelerators.yaml").value();
};

// It is packed by a program of the build.
TEST_F(BuiltIn, IsTheFileOfTheRepository) {
  EXPECT_TRUE(catalogue_ == Parsed(text_, "accelerators.yaml"));
}

TEST_F(BuiltIn, HasNoPartThatIsEmpty) {
  EXPECT_FALSE(catalogue_.entries.empty());
  EXPECT_FALSE(catalogue_.drivers.empty());
  EXPECT_FALSE(catalogue_.classes.empty());
  EXPECT_FALSE(catalogue_.pci_vendors.empty());
  EXPECT_FALSE(catalogue_.deny.empty());
  EXPECT_FALSE(catalogue_.unrecognised_names.empty());
  EXPECT_THAT(catalogue_.passthrough_drivers, IsSupersetOf({"vfio-pci", "pci-stub"}));
}

// IEEE 1275's PCI binding and usb-device.yaml: lower case, leading zeros suppressed.
TEST_F(BuiltIn, EveryCompatibleHasTheFormOfItsBus) {
  const std::regex pci("pci(0|[1-9a-f][0-9a-f]{0,3}),(0|[1-9a-f][0-9a-f]{0,3})");
  const std::regex usb("usb(0|[1-9a-f][0-9a-f]{0,3}),(0|[1-9a-f][0-9a-f]{0,3})");
  const std::regex other_bus("(pci|usb)[0-9a-fA-F]+,.*|pciclass,.*");
  for (const CatalogueEntry& entry : catalogue_.entries) {
    for (const std::string& id : AllIds(entry)) {
      switch (entry.bus) {
        case Bus::kPci: EXPECT_TRUE(std::regex_match(id, pci)) << entry.place << ": " << id; break;
        case Bus::kUsb: EXPECT_TRUE(std::regex_match(id, usb)) << entry.place << ": " << id; break;
        case Bus::kDevicetree:
          EXPECT_FALSE(std::regex_match(id, other_bus)) << entry.place << ": " << id;
          EXPECT_NE(id.find(','), std::string::npos) << entry.place << ": " << id;
      }
    }
  }
}

TEST_F(BuiltIn, EveryClassRuleHasFourDigits) {
  for (const ClassRule& rule : catalogue_.classes) {
    EXPECT_TRUE(std::regex_match(rule.compatible, std::regex("pciclass,[0-9a-f]{4}")))
        << rule.place << ": " << rule.compatible;
  }
}

// The list stands at the top of accelerators.yaml.
TEST_F(BuiltIn, EveryKindIsOneOfItsList) {
  std::set<std::string> listed;
  const std::regex line("#   ([a-z]+)  +[^ ].*");
  std::size_t at = text_.find("# Kinds\n");
  ASSERT_NE(at, std::string::npos);
  at = text_.find('\n', at) + 1;
  for (std::smatch found; text_[at] == '#';) {
    const std::string one = text_.substr(at, text_.find('\n', at) - at);
    if (one == "#") break;
    ASSERT_TRUE(std::regex_match(one, found, line)) << one;
    listed.insert(found[1]);
    at = text_.find('\n', at) + 1;
  }
  EXPECT_THAT(listed, IsSupersetOf({"gpu", "npu", "tpu", "vpu", "dsp", "fpga", "display"}));
  for (const CatalogueEntry& entry : catalogue_.entries) {
    EXPECT_TRUE(listed.contains(entry.kind)) << entry.place << ": " << entry.kind;
  }
  for (const ClassRule& rule : catalogue_.classes) {
    EXPECT_TRUE(listed.contains(rule.kind)) << rule.place << ": " << rule.kind;
    EXPECT_TRUE(!rule.otherwise || listed.contains(*rule.otherwise)) << rule.place;
  }
}

TEST_F(BuiltIn, EveryKindVendorAndDriverMakesALegalLabel) {
  const std::regex legal("[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?");
  std::set<std::string> kinds, vendors;
  for (const CatalogueEntry& entry : catalogue_.entries) {
    kinds.insert(entry.kind);
    vendors.insert(entry.vendor);
  }
  for (const ClassRule& rule : catalogue_.classes) kinds.insert(rule.kind);
  for (const auto& [id, vendor] : catalogue_.pci_vendors) vendors.insert(vendor.name);
  for (const std::string& kind : kinds) {
    EXPECT_TRUE(std::regex_match("accelerator." + kind + ".count", legal)) << kind;
    for (const std::string& vendor : vendors) {
      EXPECT_TRUE(std::regex_match("accelerator." + kind + ".vendor." + vendor, legal)) << vendor;
    }
    for (const auto& [driver, interface] : catalogue_.drivers) {
      std::string name = driver;
      std::ranges::replace(name, ' ', '_');
      EXPECT_TRUE(std::regex_match("accelerator." + kind + ".driver." + name, legal)) << driver;
    }
  }
}

TEST_F(BuiltIn, NoEntryIsShadowedByAnEarlierOne) {
  // Whether all that `later` allows is allowed by `earlier`.
  const auto covers = [](const std::vector<std::string>& earlier, std::vector<std::string> later) {
    return earlier.empty() || (!later.empty() && std::ranges::all_of(later, [&](const auto& v) {
             return std::ranges::find(earlier, v) != earlier.end();
           }));
  };
  for (std::size_t later = 0; later < catalogue_.entries.size(); ++later) {
    const CatalogueEntry& b = catalogue_.entries[later];
    for (const std::string& id : AllIds(b)) {
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        const CatalogueEntry& a = catalogue_.entries[earlier];
        const std::vector<std::string> ids = AllIds(a);
        if (std::ranges::find(ids, id) == ids.end()) continue;
        EXPECT_FALSE(covers(a.node_names, b.node_names) &&
                     covers(a.pci_revisions, b.pci_revisions) &&
                     covers(a.pci_subsystem_devices, b.pci_subsystem_devices))
            << id << " of " << b.place << " is always taken by " << a.place;
      }
    }
  }
}

TEST_F(BuiltIn, NoEntryNamesAnIdTwice) {
  for (const CatalogueEntry& entry : catalogue_.entries) {
    const std::vector<std::string> ids = AllIds(entry);
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size()) << entry.place;
  }
}

TEST_F(BuiltIn, NoIdIsBothAnAcceleratorAndDenied) {
  for (const CatalogueEntry& entry : catalogue_.entries) {
    for (const std::string& id : AllIds(entry)) {
      EXPECT_EQ(std::ranges::find(catalogue_.deny, id), catalogue_.deny.end())
          << entry.place << ": " << id;
    }
  }
}

// The models of facts/accelerators.md that are told apart by nothing are published honestly.
TEST_F(BuiltIn, Hailo8And8LAreOneModel) {
  const auto at = catalogue_.by_compatible.find("pci1e60,2864");
  ASSERT_NE(at, catalogue_.by_compatible.end());
  EXPECT_EQ(catalogue_.entries[at->second].model, "hailo-8-or-8l");
}

// facts/accelerators.md, sections 5 and 6: what stands there with an id and no doubt.
TEST_F(BuiltIn, HoldsEveryIdOfTheFacts) {
  const char* const ids[] = {
      "pci1ac1,89a",  "pci1e60,2864", "pci1e60,45c4", "pci1e60,43a2", "pci1e60,26a2",
      "pci1da3,1",    "pci1da3,30",   "pci1da3,1000", "pci1da3,1010", "pci1da3,1020",
      "pci1da3,1060", "pci1da3,1063", "pci8086,7d1d", "pci8086,ad1d", "pci8086,643e",
      "pci8086,b03e", "pci8086,fd3e", "pci8086,d71d", "pci1022,1502", "pci1022,17f0",
      "pci17cb,a100", "pci17cb,a080", "pci1e52,faca", "pci1e52,401e", "pci1e52,b140",
      "pci1d0f,7064", "pci1d0f,7164", "pci1d0f,7264", "pci1d0f,7364", "pci1d0f,7564",
      "pci1d0f,7565", "pci1ae0,27",   "pci1ae0,5e",   "pci1ae0,63",   "pci1ae0,62",
      "pci1ae0,6f",   "pci1ae0,76",   "pci1f9d,1",    "pci1f9d,1100", "pci1f9d,11aa",
      "pci1fe9,100",  "pci1ff4,100",  "pci1ff4,102",  "pci1ff4,110",  "pci1ff4,112",
      "pci1ff4,2001", "pci1ed2,0",    "pci1ed2,1",    "pci1ed2,2",    "pci1ed2,2222",
      "pci1eff,1020", "pci1eff,1021", "pci1eff,2230", "pci1eff,2231", "pci1de0,0",
      "pci1f82,11",   "pci1e38,102",  "pcicabc,270",  "pcicabc,370",  "pci1f1c,1686",
      "pci1e30,1684", "pci8086,37c8", "pci8086,4940", "pci8086,4948", "pci8086,b25",
      "usb1a6e,89a",  "usb18d1,9302", "usb3e7,2150",  "usb3e7,2485",  "usb3e7,f63b"};
  for (const char* id : ids) EXPECT_TRUE(catalogue_.by_compatible.contains(id)) << id;
}

TEST_F(BuiltIn, HasNoEntryForTheTrapsOfTheFacts) {
  for (const char* id :
       {"pci8086,7e4c", "pci1f82,f1", "usb955,7020", "usb955,7c18", "usb955,7323"}) {
    EXPECT_FALSE(catalogue_.by_compatible.contains(id)) << id;
  }
}

TEST_F(BuiltIn, InterfaceClassesAreNamesOfDirectories) {
  EXPECT_THAT(InterfaceClasses(catalogue_), IsSupersetOf({"accel", "apex", "drm", "fpga_manager"}));
  for (const std::string& name : InterfaceClasses(catalogue_)) {
    EXPECT_TRUE(std::regex_match(name, std::regex("[a-z0-9_]+"))) << name;
  }
}

}  // namespace
}  // namespace exporter
