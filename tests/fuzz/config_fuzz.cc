// Any bytes are a configuration, or one line that says where they are none. One that loads is
// what was written: its entries, written again, are the same; and as flags of the command line
// they are the same Options.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "exporter/config.h"
#include "exporter/options.h"
#include "exporter/printable.h"
#include "tests/fuzz/properties.h"
#include "tests/test_support/temporary_directory.h"

namespace {

using exporter::ConfigEntry;
using exporter::Exit;
using exporter::Options;

// As YAML has text in double quotes.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    constexpr std::string_view kHex = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f || c == '"' || c == '\\') {
      quoted += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string ToYaml(const std::vector<ConfigEntry>& entries) {
  std::string text;
  for (const ConfigEntry& entry : entries) {
    text += "? " + Quoted(entry.flag) + "\n: ";
    if (entry.is_group) {
      text += "{}";
    } else if (entry.is_list) {
      text += "[";
      for (const std::string& value : entry.values) text += Quoted(value) + ", ";
      text += "]";
    } else {
      text += Quoted(entry.values.at(0));
    }
    text += "\n";
  }
  return text;
}

void RequireWrittenAgain(const std::vector<ConfigEntry>& entries) {
  const std::string text = ToYaml(entries);
  const auto again = exporter::ParseConfig(text, "f.yaml");
  const auto same = [](const ConfigEntry& a, const ConfigEntry& b) {
    return a.flag == b.flag && a.values == b.values && a.is_list == b.is_list &&
           a.is_group == b.is_group;
  };
  fuzz::Require(again && std::ranges::equal(*again, entries, same),
                "what was written is what is read", text);
}

std::vector<std::string> ToFlags(const ConfigEntry& entry) {
  const bool is_collector = entry.flag.starts_with("collector.");
  const bool is_switch = is_collector || entry.flag == "labels.include-disabled" ||
                         entry.flag == "labels.kubernetes" || entry.flag == "kubernetes.watch" ||
                         entry.flag == "kubernetes.adopt" || entry.flag == "web.enable-lifecycle";
  std::vector<std::string> flags;
  for (const std::string& value : entry.values) {
    if (!is_switch) {
      flags.push_back("--" + entry.flag + "=" + value);
    } else if (value == "true") {
      flags.push_back("--" + entry.flag);
    } else if (is_collector) {
      flags.push_back("--no-" + entry.flag);
    }
  }
  return flags;
}

std::variant<Options, Exit> Parse(const std::vector<std::string>& flags) {
  std::vector<const char*> arguments = {"devicetree-exporter"};
  for (const std::string& flag : flags) arguments.push_back(flag.c_str());
  return exporter::ParseOptions(static_cast<int>(arguments.size()), arguments.data(), {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const test_support::TemporaryDirectory directory;
  static const std::string file = directory / "f.yaml";
  test_support::WriteFile(file, text);
  const std::variant<Options, Exit> loaded = Parse({"--config.file=" + file});
  const Exit* const exit = std::get_if<Exit>(&loaded);
  if (exit != nullptr) {
    std::string_view line = exit->text;
    fuzz::Require(exit->code == 2 && line.starts_with("devicetree-exporter: ") &&
                      line.ends_with('\n'),
                  "a wrong configuration ends with code 2 and a line", exit->text);
    fuzz::RequireOneLine(line.substr(0, line.size() - 1));
  }
  const auto entries = exporter::ParseConfig(text, "f.yaml");
  if (!entries) {
    fuzz::RequirePlacedLine(entries.error().message, "f.yaml");
    fuzz::Require(exit != nullptr, "what is no configuration gives no Options", text);
    return 0;
  }
  RequireWrittenAgain(*entries);
  if (exit != nullptr) return 0;
  std::vector<std::string> flags;
  for (const ConfigEntry& entry : *entries) {
    for (std::string& flag : ToFlags(entry)) flags.push_back(std::move(flag));
  }
  const std::variant<Options, Exit> given = Parse(flags);
  fuzz::Require(std::holds_alternative<Options>(given) &&
                    std::get<Options>(given) == std::get<Options>(loaded),
                "the file says what the same flags say", text);
  return 0;
}
