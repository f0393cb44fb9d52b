// A program of the build, run on the building machine: writes the YAML file that
// is its argument to standard output as the tables of exporter/built_in_catalogue.cc.
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "exporter/yaml_document.h"

namespace {

using exporter::YamlValue;

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

struct Tables {
  std::ostringstream values;
  std::ostringstream scalars;
};

void Pack(const YamlValue& value, Tables* tables) {
  const auto row = [&](const char* kind, std::size_t size) {
    tables->values << "    {Kind::" << kind << ", " << value.column << ", " << value.line << ", "
                   << size << "},\n";
  };
  switch (value.kind) {
    case YamlValue::Kind::kNull: return row("kNull", 0);
    case YamlValue::Kind::kScalar:
      tables->scalars << "    " << Quoted(value.scalar) << "\n";
      return row("kScalar", value.scalar.size());
    case YamlValue::Kind::kSequence:
      row("kSequence", value.items.size());
      for (const YamlValue& item : value.items) Pack(item, tables);
      return;
    case YamlValue::Kind::kMapping:
      row("kMapping", value.entries.size());
      for (const exporter::YamlEntry& entry : value.entries) {
        Pack(entry.key, tables);
        Pack(entry.value, tables);
      }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "pack_catalogue: expected a YAML file\n";
    return 2;
  }
  const dt::Result<std::string> text = exporter::ReadYamlFile(argv[1]);
  const dt::Result<YamlValue> document =
      text ? exporter::ParseYaml(*text, argv[1]) : dt::Result<YamlValue>(text.error());
  if (!document) {
    std::cerr << document.error().message << "\n";
    return 2;
  }
  Tables tables;
  Pack(*document, &tables);
  std::cout << "constexpr PackedValue kValues[] = {\n" << tables.values.str() << "};\n"
            << "constexpr char kScalars[] =\n" << tables.scalars.str() << "    ;\n";
}
