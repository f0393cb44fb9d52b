// accelerators.yaml, read when the program is built: yaml-cpp would take most of a
// start for it.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "exporter/catalogue.h"
#include "exporter/yaml_document.h"

namespace exporter {
namespace {

using Kind = YamlValue::Kind;

// A value, followed by those in it. The text of the scalars stands in kScalars, in
// the same order.
struct PackedValue {
  Kind kind;
  std::uint16_t column;
  std::uint16_t line;
  std::uint16_t size;  // bytes of a scalar, items of a sequence, entries of a mapping
};

#include "packed_catalogue.inc"

class Unpacker {
 public:
  YamlValue Next() {
    const PackedValue& packed = *next_++;
    YamlValue value;
    value.kind = packed.kind;
    value.line = packed.line;
    value.column = packed.column;
    switch (packed.kind) {
      case Kind::kNull: break;
      case Kind::kScalar:
        value.scalar = scalars_.substr(0, packed.size);
        scalars_.remove_prefix(packed.size);
        break;
      case Kind::kSequence:
        value.items.resize(packed.size);
        for (YamlValue& item : value.items) item = Next();
        break;
      case Kind::kMapping:
        value.entries.resize(packed.size);
        for (YamlEntry& entry : value.entries) {
          entry.key = Next();
          entry.value = Next();
        }
    }
    return value;
  }

 private:
  const PackedValue* next_ = kValues;
  std::string_view scalars_ = kScalars;
};

}  // namespace

Catalogue BuiltInCatalogue() {
  return ReadCatalogue(Unpacker().Next(), "accelerators.yaml").value();
}

}  // namespace exporter
