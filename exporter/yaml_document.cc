#include "exporter/yaml_document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "exporter/printable.h"
#include "exporter/read_file.h"

namespace exporter {
namespace {

// Thrown and caught in this file: yaml-cpp has no other way to stop.
struct Refused {
  int line;
  int column;
  std::string why;
};

// Whether the quote that opens at text[at], if one does, is closed. yaml-cpp takes
// the end of the file for the end of a quoted text.
bool IsClosed(std::string_view text, std::size_t at) {
  const char quote = at < text.size() ? text[at] : '\0';
  if (quote != '"' && quote != '\'') return true;
  for (++at; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (text[at] == quote) {
      if (quote == '"' || text.substr(at + 1, 1) != "'") return true;
      ++at;  // '' is a quote inside the text
    }
  }
  return false;
}

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) Refuse(mark, "a second document; one expected");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(mark, "", anchor, YamlValue::Kind::kNull);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "an alias; write the value itself");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (tag == "!" && !IsClosed(text_, static_cast<std::size_t>(mark.pos))) {
      Refuse(mark, "a quote that does not end");
    }
    Add(mark, tag, anchor, YamlValue::Kind::kScalar, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlValue::Kind::kSequence);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlValue::Kind::kMapping);
  }
  void OnMapEnd() override { Close(); }

  YamlValue Take() && { return std::move(root_); }

 private:
  struct Level {
    YamlValue value;
    bool has_key = false;  // a key stands last in value.entries, its value is awaited
    std::set<std::string> keys;
  };

  [[noreturn]] static void Refuse(const YAML::Mark& mark, std::string why) {
    throw Refused{mark.line + 1, mark.column + 1, std::move(why)};
  }

  YamlValue Make(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                 YamlValue::Kind kind) {
    if (anchor != YAML::NullAnchor) Refuse(mark, "an anchor; aliases are not read");
    // yaml-cpp says "?" of a plain scalar and "!" of a quoted one.
    if (!tag.empty() && tag != "?" && tag != "!") {
      Refuse(mark, "the tag " + Printable(tag) + "; no tags expected");
    }
    if (++values_ > kMaxYamlValues) {
      Refuse(mark, "more than " + std::to_string(kMaxYamlValues) + " values");
    }
    YamlValue value;
    value.kind = kind;
    value.line = mark.line + 1;
    value.column = mark.column + 1;
    return value;
  }

  void Add(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
           YamlValue::Kind kind, const std::string& scalar = "") {
    YamlValue value = Make(mark, tag, anchor, kind);
    value.scalar = scalar;
    Place(std::move(value));
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlValue::Kind kind) {
    if (open_.size() >= kMaxYamlDepth) {
      Refuse(mark, "deeper than " + std::to_string(kMaxYamlDepth) + " levels");
    }
    open_.push_back(Level{Make(mark, tag, anchor, kind), false, {}});
  }

  void Close() {
    YamlValue value = std::move(open_.back().value);
    open_.pop_back();
    Place(std::move(value));
  }

  void Place(YamlValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Level& level = open_.back();
    if (level.value.kind == YamlValue::Kind::kSequence) {
      level.value.items.push_back(std::move(value));
    } else if (level.has_key) {
      YamlEntry& entry = level.value.entries.back();
      if (value.kind == YamlValue::Kind::kNull) {
        // yaml-cpp says where the next thing stands; its key is the place to look at.
        value.line = entry.key.line;
        value.column = entry.key.column;
      }
      entry.value = std::move(value);
      level.has_key = false;
    } else {
      const auto refuse = [&](const std::string& why) {
        throw Refused{value.line, value.column, why};
      };
      if (value.kind != YamlValue::Kind::kScalar) refuse("a key that is no text");
      if (!level.keys.insert(value.scalar).second) {
        refuse("the key \"" + Printable(value.scalar) + "\" stands here a second time");
      }
      level.value.entries.push_back(YamlEntry{std::move(value), {}});
      level.has_key = true;
    }
  }

  std::string_view text_;
  int documents_ = 0;
  std::size_t values_ = 0;
  std::vector<Level> open_;
  YamlValue root_;
};

// Line and column of a byte.
Refused At(std::string_view text, std::size_t byte, std::string why) {
  const std::string_view before = text.substr(0, byte);
  const std::size_t newline = before.rfind('\n');
  const std::size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
  return Refused{static_cast<int>(std::ranges::count(before, '\n')) + 1,
                 static_cast<int>(byte - line_begin) + 1, std::move(why)};
}

YamlValue Parse(std::string_view text) {
  if (text.size() > kMaxYamlBytes) {
    throw Refused{1, 1,
                  std::to_string(text.size()) + " bytes; at most " + std::to_string(kMaxYamlBytes) +
                      " expected"};
  }
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw At(text, nul, "a NUL byte; text expected");
  }
  if (const std::size_t byte = FindInvalidUtf8(text); byte != std::string_view::npos) {
    throw At(text, byte, "a byte that is not UTF-8");
  }
  std::istringstream stream{std::string(text)};
  Builder builder(text);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    throw Refused{error.mark.line + 1, error.mark.column + 1, "no YAML: " + Printable(error.msg)};
  }
  return std::move(builder).Take();
}

}  // namespace

dt::Result<YamlValue> ParseYaml(std::string_view text, const std::string& file) {
  try {
    return Parse(text);
  } catch (const Refused& refused) {
    return dt::Error{dt::ErrorCode::kMalformed, file + ":" + std::to_string(refused.line) + ":" +
                                                    std::to_string(refused.column) + ": " +
                                                    refused.why};
  }
}

dt::Result<std::string> ReadYamlFile(const std::string& file) {
  std::string text;
  const std::string error = ReadFile(file, kMaxYamlBytes, &text);
  if (error.empty()) return text;
  return dt::Error{dt::ErrorCode::kIo, file + ": " + error + "; expected YAML"};
}

}  // namespace exporter
