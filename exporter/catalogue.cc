#include "exporter/catalogue.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <utility>

#include "exporter/printable.h"

namespace exporter {
namespace {

using Kind = YamlValue::Kind;

// Thrown and caught in this file.
struct Refused {
  const YamlValue* at;
  std::string why;
};

[[noreturn]] void Refuse(const YamlValue& at, std::string why) {
  throw Refused{&at, std::move(why)};
}

std::string Shown(const YamlValue& value) {
  switch (value.kind) {
    case Kind::kNull: return "nothing";
    case Kind::kScalar: return "\"" + Printable(value.scalar) + "\"";
    case Kind::kSequence: return "a list";
    case Kind::kMapping: break;
  }
  return "a mapping";
}

// What can stand in accelerator.<kind>.count, a label name of at most 63, without
// being taken for another: a dot would make gpu.count a kind.
constexpr std::size_t kMaxKindBytes = 63 - std::string_view("accelerator..count").size();

// A word that may stand in a label: vendors, models.
const std::string& Word(const YamlValue& value) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  if (value.kind != Kind::kScalar || value.scalar.empty() ||
      !std::ranges::all_of(value.scalar, allowed)) {
    Refuse(value, Shown(value) + "; expected a word of a-z, 0-9, - and .");
  }
  return value.scalar;
}

const std::string& KindWord(const YamlValue& value) {
  const std::string& kind = Word(value);
  const auto is_edge = [](char c) { return c != '-' && c != '.'; };
  if (!is_edge(kind.front()) || !is_edge(kind.back()) || kind.find('.') != std::string::npos ||
      kind.size() > kMaxKindBytes) {
    Refuse(value, Shown(value) + "; expected a word of a-z, 0-9 and, inside, -, of at most " +
                      std::to_string(kMaxKindBytes));
  }
  return kind;
}

const std::string& Text(const YamlValue& value) {
  if (value.kind != Kind::kScalar || value.scalar.empty()) {
    Refuse(value, Shown(value) + "; expected text");
  }
  return value.scalar;
}

// `digits` lower-case hexadecimal digits.
const std::string& Hex(const YamlValue& value, std::size_t digits) {
  if (value.kind != Kind::kScalar || value.scalar.size() != digits ||
      value.scalar.find_first_not_of("0123456789abcdef") != std::string::npos) {
    Refuse(value, Shown(value) + "; expected " + std::to_string(digits) +
                      " lower-case hexadecimal digits");
  }
  return value.scalar;
}

bool Flag(const YamlValue& value) {
  if (value.kind == Kind::kScalar && value.scalar == "true") return true;
  if (value.kind == Kind::kScalar && value.scalar == "false") return false;
  Refuse(value, Shown(value) + "; expected true or false");
}

template <typename Read>
auto List(const YamlValue& value, Read read) {
  if (value.kind != Kind::kSequence || value.items.empty()) {
    Refuse(value, Shown(value) + "; expected a list of at least one");
  }
  std::vector<std::decay_t<decltype(read(value.items.front()))>> list;
  list.reserve(value.items.size());
  for (const YamlValue& item : value.items) list.push_back(read(item));
  return list;
}

const std::vector<YamlEntry>& Mapping(const YamlValue& value) {
  if (value.kind != Kind::kMapping) Refuse(value, Shown(value) + "; expected a mapping");
  return value.entries;
}

// Reads a mapping of known keys, and refuses others.
class Fields {
 public:
  using Reader = std::function<void(const YamlValue&)>;

  explicit Fields(const YamlValue& mapping) : mapping_(mapping) { fields_.reserve(16); }

  // REQUIRES: `key` lives as long as this.
  Fields& Required(std::string_view key, Reader read) { return Add(key, true, std::move(read)); }
  Fields& Optional(std::string_view key, Reader read) { return Add(key, false, std::move(read)); }

  void Read() const {
    for (const YamlEntry& entry : Mapping(mapping_)) {
      const auto field = std::ranges::find(fields_, entry.key.scalar, &Field::key);
      if (field == fields_.end()) {
        Refuse(entry.key, "unknown key " + Shown(entry.key) + "; expected " + Known());
      }
      field->read(entry.value);
    }
    for (const Field& field : fields_) {
      const auto is_field = [&](const YamlEntry& e) { return e.key.scalar == field.key; };
      if (field.required && std::ranges::none_of(mapping_.entries, is_field)) {
        Refuse(mapping_, "no " + std::string(field.key) + "; expected " + Known());
      }
    }
  }

 private:
  struct Field {
    std::string_view key;
    bool required;
    Reader read;
  };
  Fields& Add(std::string_view key, bool required, Reader read) {
    fields_.push_back({key, required, std::move(read)});
    return *this;
  }
  std::string Known() const {
    std::string known;
    for (const Field& field : fields_) (known += known.empty() ? "" : ", ") += field.key;
    return known;
  }

  const YamlValue& mapping_;
  std::vector<Field> fields_;
};

void ReadBelow(const YamlValue& value, Interface* interface) {
  if (value.kind == Kind::kMapping) {
    const auto parents = [interface](Interface::Below below) {
      return [interface, below](const YamlValue& v) {
        interface->below = below;
        interface->parents = List(v, Text);
      };
    };
    Fields(value)
        .Optional("drivers", parents(Interface::Below::kDrivers))
        .Optional("devices", parents(Interface::Below::kDevices))
        .Read();
    if (value.entries.size() == 1) return;
  }
  if (value.kind == Kind::kScalar && value.scalar == "device") return;
  if (value.kind != Kind::kScalar || value.scalar != "any") {
    Refuse(value, Shown(value) + "; expected device, any, {drivers: [...]} or {devices: [...]}");
  }
  interface->below = Interface::Below::kAny;
}

Interface ReadInterface(const YamlValue& value) {
  Interface interface;
  Fields(value)
      .Required("class", [&](const YamlValue& v) { interface.class_name = Text(v); })
      .Required("name", [&](const YamlValue& v) { interface.name = Text(v); })
      .Required("below", [&](const YamlValue& v) { ReadBelow(v, &interface); })
      .Read();
  return interface;
}

// Whether all characters of `text` are in `digits`, of which there is one.
bool IsOf(std::string_view digits, std::string_view text) {
  return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}

// "pci10de,2b00", "pci10de,2b00.10de.16c1.a1", "usb1a6e,89a": the forms of the PCI
// Bus Binding to IEEE 1275 and of usb-device.yaml, in whatever case and width.
bool HasBusForm(std::string_view compatible, std::string_view bus) {
  if (!compatible.starts_with(bus)) return false;
  compatible.remove_prefix(bus.size());
  const std::size_t comma = compatible.find(',');
  return comma != std::string_view::npos &&
         IsOf("0123456789abcdefABCDEF", compatible.substr(0, comma)) &&
         IsOf("0123456789abcdefABCDEF.", compatible.substr(comma + 1));
}

// Whether ids of that form are written as devices have them: lower case, at most
// four digits, leading zeros suppressed.
bool IsCanonical(std::string_view compatible) {
  compatible.remove_prefix(3);  // "pci", "usb"
  while (!compatible.empty()) {
    const std::string_view id = compatible.substr(0, compatible.find_first_of(",."));
    compatible.remove_prefix(std::min(compatible.size(), id.size() + 1));
    if (!IsOf("0123456789abcdef", id) || id.size() > 4 || (id.size() > 1 && id.front() == '0')) {
      return false;
    }
  }
  return true;
}

Bus BusOf(const std::string& compatible) {
  if (HasBusForm(compatible, "pci")) return Bus::kPci;
  return HasBusForm(compatible, "usb") ? Bus::kUsb : Bus::kDevicetree;
}

// Refuses an id that no device of `bus` can have.
void CheckId(const YamlValue& id, Bus bus) {
  if (BusOf(id.scalar) != bus) {
    Refuse(id, Shown(id) + "; expected an id of the bus " + std::string(ToString(bus)));
  }
  if (bus != Bus::kDevicetree && !IsCanonical(id.scalar)) {
    Refuse(id, Shown(id) + "; expected ids in lower case without leading zeros");
  }
}

Bus ReadBus(const YamlValue& value) {
  for (const Bus bus : {Bus::kDevicetree, Bus::kPci, Bus::kUsb}) {
    if (value.kind == Kind::kScalar && value.scalar == ToString(bus)) return bus;
  }
  Refuse(value, Shown(value) + "; expected devicetree, pci or usb");
}

// Refuses what could never match a device of the entry's bus.
void CheckIds(const YamlValue& entry_value, const CatalogueEntry& entry) {
  for (const YamlEntry& field : entry_value.entries) {
    const std::string& key = field.key.scalar;
    if (key == "compatibles" || key == "same-device" || key == "virtual-functions") {
      for (const YamlValue& id : field.value.items) CheckId(id, entry.bus);
    }
    const bool of_pci = key == "pci-revisions" || key == "pci-subsystem-devices";
    if ((of_pci && entry.bus != Bus::kPci) ||
        (key == "node-names" && entry.bus != Bus::kDevicetree)) {
      Refuse(field.key, key + " of an entry of the bus " + std::string(ToString(entry.bus)));
    }
  }
}

// "npu", not "npu0": nodes are compared without their digits.
const std::string& NodeName(const YamlValue& value) {
  const std::string& name = Text(value);
  if (name.back() >= '0' && name.back() <= '9') {
    Refuse(value, Shown(value) + "; expected a name without digits at its end");
  }
  return name;
}

CatalogueEntry ReadEntry(const YamlValue& value, const std::string& file) {
  CatalogueEntry entry;
  entry.place = file + ":" + std::to_string(value.line);
  std::optional<Bus> bus;
  const YamlValue* models = nullptr;
  Fields(value)
      .Required("compatibles", [&](const YamlValue& v) { entry.compatibles = List(v, Text); })
      .Required("kind", [&](const YamlValue& v) { entry.kind = KindWord(v); })
      .Required("vendor", [&](const YamlValue& v) { entry.vendor = Word(v); })
      .Optional("model", [&](const YamlValue& v) { entry.model = Word(v); })
      .Optional("models",
                [&](const YamlValue& v) {
                  models = &v;
                  for (const YamlEntry& e : Mapping(v)) entry.models[e.key.scalar] = Word(e.value);
                })
      .Optional("bus", [&](const YamlValue& v) { bus = ReadBus(v); })
      .Optional("node-names", [&](const YamlValue& v) { entry.node_names = List(v, NodeName); })
      .Optional("pci-revisions",
                [&](const YamlValue& v) {
                  entry.pci_revisions = List(v, [](const auto& item) { return Hex(item, 2); });
                })
      .Optional("pci-subsystem-devices",
                [&](const YamlValue& v) {
                  entry.pci_subsystem_devices =
                      List(v, [](const auto& item) { return Hex(item, 4); });
                })
      .Optional("unit",
                [&](const YamlValue& v) {
                  if (Text(v) != "node" && v.scalar != "machine") {
                    Refuse(v, Shown(v) + "; expected node or machine");
                  }
                  entry.one_per_machine = v.scalar == "machine";
                })
      .Optional("same-device", [&](const YamlValue& v) { entry.same_device = List(v, Text); })
      .Optional("virtual-functions",
                [&](const YamlValue& v) { entry.virtual_functions = List(v, Text); })
      .Optional("ready", [&](const YamlValue& v) { entry.ready = ReadInterface(v); })
      .Read();
  entry.bus = BusOf(entry.compatibles.front());
  for (const std::string& compatible : entry.compatibles) {
    if (BusOf(compatible) != entry.bus) {
      Refuse(value, "compatibles of more than one bus: \"" + Printable(compatible) + "\"");
    }
  }
  if (bus && *bus != entry.bus) {
    Refuse(value, "bus " + std::string(ToString(*bus)) + ", but its compatibles are of " +
                      std::string(ToString(entry.bus)));
  }
  CheckIds(value, entry);
  for (const auto& [compatible, model] : entry.models) {
    if (std::ranges::find(entry.compatibles, compatible) == entry.compatibles.end()) {
      Refuse(*models, "a model for \"" + Printable(compatible) + "\", which is not in compatibles");
    }
  }
  return entry;
}

ClassRule ReadClass(const YamlValue& value, const std::string& file) {
  constexpr std::string_view kClass = "pciclass,";
  ClassRule rule;
  rule.place = file + ":" + std::to_string(value.line);
  Fields(value)
      .Required(
          "compatible",
          [&](const YamlValue& v) {
            rule.compatible = Text(v);
            const std::string digits =
                rule.compatible.substr(std::min(kClass.size(), rule.compatible.size()));
            if (!rule.compatible.starts_with(kClass) || !IsOf("0123456789abcdef", digits) ||
                (digits.size() != 4 && digits.size() != 6)) {
              Refuse(v, Shown(v) +
                            "; expected pciclass, and four or six lower-case hexadecimal digits");
            }
          })
      .Required("kind", [&](const YamlValue& v) { rule.kind = KindWord(v); })
      .Optional("otherwise", [&](const YamlValue& v) { rule.otherwise = KindWord(v); })
      .Read();
  return rule;
}

PciVendor ReadVendor(const YamlValue& value) {
  PciVendor vendor;
  Fields(value)
      .Required("name", [&](const YamlValue& v) { vendor.name = Word(v); })
      .Optional("gpu", [&](const YamlValue& v) { vendor.makes_gpus = Flag(v); })
      .Read();
  return vendor;
}

void Index(Catalogue* catalogue) {
  catalogue->by_compatible.clear();
  for (std::size_t i = 0; i < catalogue->entries.size(); ++i) {
    const CatalogueEntry& entry = catalogue->entries[i];
    for (const auto* ids : {&entry.compatibles, &entry.same_device, &entry.virtual_functions}) {
      for (const std::string& id : *ids) catalogue->by_compatible.emplace(id, i);
    }
  }
}

Catalogue Read(const YamlValue& document, const std::string& file) {
  Catalogue catalogue;
  Fields(document)
      .Required("version",
                [](const YamlValue& v) {
                  if (v.kind != Kind::kScalar || v.scalar != "1") {
                    Refuse(v, Shown(v) + "; expected 1");
                  }
                })
      .Optional("drivers",
                [&](const YamlValue& v) {
                  for (const YamlEntry& e : Mapping(v)) {
                    Fields(e.value)
                        .Required("ready",
                                  [&](const YamlValue& ready) {
                                    catalogue.drivers[e.key.scalar] = ReadInterface(ready);
                                  })
                        .Read();
                  }
                })
      .Optional("passthrough-drivers",
                [&](const YamlValue& v) { catalogue.passthrough_drivers = List(v, Text); })
      .Optional("accelerators",
                [&](const YamlValue& v) {
                  catalogue.entries =
                      List(v, [&](const YamlValue& item) { return ReadEntry(item, file); });
                })
      .Optional("classes",
                [&](const YamlValue& v) {
                  catalogue.classes =
                      List(v, [&](const YamlValue& item) { return ReadClass(item, file); });
                })
      .Optional("pci-vendors",
                [&](const YamlValue& v) {
                  for (const YamlEntry& e : Mapping(v)) {
                    catalogue.pci_vendors[Hex(e.key, 4)] = ReadVendor(e.value);
                  }
                })
      .Optional("deny", [&](const YamlValue& v) { catalogue.deny = List(v, Text); })
      .Optional("unrecognised-names",
                [&](const YamlValue& v) { catalogue.unrecognised_names = List(v, Text); })
      .Read();
  Index(&catalogue);
  return catalogue;
}

// `first`, then `second`.
template <typename T>
std::vector<T> Joined(std::vector<T> first, std::vector<T> second) {
  first.insert(first.end(), std::make_move_iterator(second.begin()),
               std::make_move_iterator(second.end()));
  return first;
}

}  // namespace

dt::Result<Catalogue> ReadCatalogue(const YamlValue& document, const std::string& file) {
  try {
    return Read(document, file);
  } catch (const Refused& refused) {
    return dt::Error{dt::ErrorCode::kMalformed, file + ":" + std::to_string(refused.at->line) +
                                                    ":" + std::to_string(refused.at->column) +
                                                    ": " + refused.why};
  }
}

dt::Result<Catalogue> ParseCatalogue(std::string_view text, const std::string& file) {
  const dt::Result<YamlValue> document = ParseYaml(text, file);
  if (!document) return document.error();
  return ReadCatalogue(*document, file);
}

Catalogue Extend(Catalogue base, Catalogue extra) {
  extra.drivers.merge(base.drivers);
  extra.pci_vendors.merge(base.pci_vendors);
  extra.passthrough_drivers =
      Joined(std::move(extra.passthrough_drivers), std::move(base.passthrough_drivers));
  extra.entries = Joined(std::move(extra.entries), std::move(base.entries));
  extra.classes = Joined(std::move(extra.classes), std::move(base.classes));
  extra.deny = Joined(std::move(extra.deny), std::move(base.deny));
  extra.unrecognised_names =
      Joined(std::move(extra.unrecognised_names), std::move(base.unrecognised_names));
  Index(&extra);
  return extra;
}

std::vector<std::string> InterfaceClasses(const Catalogue& catalogue) {
  std::set<std::string> classes;
  for (const auto& [driver, interface] : catalogue.drivers) classes.insert(interface.class_name);
  for (const CatalogueEntry& entry : catalogue.entries) {
    if (entry.ready) classes.insert(entry.ready->class_name);
  }
  return {classes.begin(), classes.end()};
}

}  // namespace exporter
