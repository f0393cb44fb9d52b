#include "exporter/config.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "exporter/printable.h"
#include "exporter/yaml_document.h"

namespace exporter {
namespace {

using Kind = YamlValue::Kind;

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  // Takes the entries of `mapping`, whose keys continue `prefix`. False: error() says why.
  bool Take(const YamlValue& mapping, const std::string& prefix) {
    for (const YamlEntry& entry : mapping.entries) {
      const std::string flag = prefix + entry.key.scalar;
      const bool is_mapping = entry.value.kind == Kind::kMapping;
      if (is_mapping && entry.value.entries.empty()) {
        entries.push_back({flag, {}, {}, false, true, Place(entry.key), Place(entry.value)});
      }
      const bool taken =
          is_mapping ? Take(entry.value, flag + ".") : TakeValue(flag, entry);
      if (!taken) return false;
    }
    return true;
  }

  bool Fail(const YamlValue& at, const std::string& message) {
    error_ = Place(at) + ": " + message;
    return false;
  }

  std::vector<ConfigEntry> entries;
  const std::string& error() const { return error_; }

 private:
  std::string Place(const YamlValue& value) const {
    return file_ + ":" + std::to_string(value.line) + ":" + std::to_string(value.column);
  }

  bool TakeValue(const std::string& flag, const YamlEntry& entry) {
    const YamlValue& value = entry.value;
    const std::string name = "\"" + Printable(flag) + "\"";
    if (value.kind == Kind::kNull) return Fail(value, name + " has no value; expected one");
    ConfigEntry found{flag,  {}, {}, value.kind == Kind::kSequence, false, Place(entry.key),
                      Place(value)};
    for (const YamlValue& item : found.is_list ? value.items : std::vector{value}) {
      if (item.kind != Kind::kScalar) {
        return Fail(item, name + " holds something other than text; expected a list of values");
      }
      found.values.push_back(item.scalar);
      found.value_places.push_back(Place(item));
    }
    const auto [first, is_new] = places_.emplace(flag, found.key_place);
    if (!is_new) {
      return Fail(entry.key, name + " stands at " + first->second + " already; expected it once");
    }
    entries.push_back(std::move(found));
    return true;
  }

  const std::string& file_;
  std::map<std::string, std::string> places_;  // by flag
  std::string error_;
};

// Levenshtein's: insertions, deletions and replacements from one to the other.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

dt::Result<std::vector<ConfigEntry>> ParseConfig(std::string_view text, const std::string& file) {
  dt::Result<YamlValue> document = ParseYaml(text, file);
  if (!document) return document.error();
  Reader reader(file);
  const bool is_mapping = document->kind == Kind::kMapping || document->kind == Kind::kNull;
  if (!is_mapping) {
    reader.Fail(*document, "no mapping; expected flags under their names, such as labels:");
  } else if (reader.Take(*document, "")) {
    return std::move(reader.entries);
  }
  return dt::Error{dt::ErrorCode::kMalformed, reader.error()};
}

std::string NearestWord(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t kMostBytes = 100;  // the cost grows with both lengths
  std::string nearest;
  std::size_t least = word.size() > kMostBytes ? 0 : std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = least == 0 ? 0 : EditDistance(word, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace exporter
