#include "exporter/host_tree.h"

#include <algorithm>
#include <utility>

#include "exporter/printable.h"

namespace exporter {
namespace {

using Kind = HostEntry::Kind;

constexpr int kMaxLinks = 40;  // the kernel's MAXSYMLINKS; sysfs needs two
constexpr std::size_t kMaxQuotedBytes = 80;

const char* Word(Kind kind) {
  switch (kind) {
    case Kind::kFolder: return "a folder";
    case Kind::kFile: return "a file";
    case Kind::kLink: break;
  }
  return "a link";
}

std::string Number(std::size_t value) { return std::to_string(value); }

std::string Quoted(std::string_view text) {
  const bool is_long = text.size() > kMaxQuotedBytes;
  return "\"" + std::string(text.substr(0, kMaxQuotedBytes)) + (is_long ? "...\"" : "\"");
}

std::string Join(const std::string& folder, std::string_view name) {
  return folder.empty() ? std::string(name) : std::string(folder).append("/").append(name);
}

// What makes `place` none, if something does.
std::optional<std::string> WrongPlace(std::string_view place) {
  if (place.size() > kMaxHostPathBytes) {
    return "a path of " + Number(place.size()) + " bytes; at most " + Number(kMaxHostPathBytes) +
           " expected";
  }
  std::size_t depth = 0;
  for (std::size_t begin = 0; begin <= place.size(); ++depth) {
    const std::size_t end = std::min(place.find('/', begin), place.size());
    const std::string_view name = place.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == "." || name == ".." || name.find('\0') != name.npos) {
      return Quoted(place) + ": a path with the name " + Quoted(name) +
             "; expected one that leads down from the root of the snapshot";
    }
    if (name.size() > kMaxHostNameBytes) {
      return "a name of " + Number(name.size()) + " bytes; at most " + Number(kMaxHostNameBytes) +
             " expected";
    }
  }
  if (depth <= kMaxHostPathDepth) return std::nullopt;
  return "a path of " + Number(depth) + " names; at most " + Number(kMaxHostPathDepth) +
         " expected";
}

std::optional<std::string> WrongTarget(const std::string& place, std::string_view target) {
  auto above = std::ranges::count(place, '/');
  std::string_view names = target;
  for (; names.starts_with("../"); --above) names.remove_prefix(3);
  if (above >= 0 && !WrongPlace(names)) return std::nullopt;
  return Quoted(target) +
         " is no target of a link; expected a relative one that stays inside, its .. in front";
}

// A space is escaped in a path, and at the end of a line, where editors cut it.
void AppendEscaped(std::string_view bytes, bool is_path, std::string* text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\') {
      *text += "\\\\";
    } else if (c == '\n') {
      *text += "\\n";
    } else if (c == '\0') {
      *text += "\\0";
    } else if (byte < ' ' || byte >= 0x7f || (c == ' ' && (is_path || i + 1 == bytes.size()))) {
      *text += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      *text += c;
    }
  }
}

// A path at the beginning of an entry, where # would begin a comment.
void AppendPath(std::string_view path, std::string* text) {
  if (path.starts_with('#')) {
    *text += "\\x23";
    path.remove_prefix(1);
  }
  AppendEscaped(path, true, text);
}

void AppendLine(std::string_view path, const HostEntry& entry, std::string* text) {
  std::string_view content = entry.content;
  AppendPath(path, text);
  if (entry.kind == Kind::kLink) {
    *text += " -> ";
    AppendEscaped(content, true, text);
  } else {
    const bool newline = content.ends_with('\n');
    if (newline) content.remove_suffix(1);
    *text += newline && content.empty() ? " =" : " = ";
    AppendEscaped(content, false, text);
    if (!newline) *text += "\\c";
  }
  *text += '\n';
}

// The bytes that `text` stands for; nullopt if it holds an escape that is none. \c, at the
// end, is one where `newline` is given.
std::optional<std::string> Unescape(std::string_view text, bool* newline = nullptr) {
  const auto digit = [text](std::size_t at) {
    constexpr std::string_view kDigits = "0123456789abcdefABCDEF";
    const std::size_t found = at < text.size() ? kDigits.find(text[at]) : kDigits.npos;
    return found == kDigits.npos ? -1 : static_cast<int>(found < 16 ? found : found - 6);
  };
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    const char escape = ++i < text.size() ? text[i] : ' ';
    if (escape == '0') {
      bytes += '\0';
    } else if (escape == 'n') {
      bytes += '\n';
    } else if (escape == '\\') {
      bytes += '\\';
    } else if (escape == 'x' && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      bytes += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else if (escape == 'c' && i + 1 == text.size() && newline != nullptr) {
      *newline = false;
    } else {
      return std::nullopt;
    }
  }
  return bytes;
}

// Reads one line after the other. What is wrong with one comes back in words.
class Parser {
 public:
  std::optional<std::string> Take(std::string_view line) {
    const auto control = std::ranges::find_if(
        line, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
    if (control != line.end()) {
      return "the byte " + std::string(1, *control) + "; expected no control characters, but \\xNN";
    }
    const std::size_t indent = line.find_first_not_of(' ');
    if (indent == line.npos || line[indent] == '#') return std::nullopt;
    if (indent == 0) folder_.clear();
    line.remove_prefix(indent);
    const std::size_t end = std::min(line.find(' '), line.size());
    return TakeEntry(line.substr(0, end), line.substr(end), indent == 0);
  }

  HostTree tree;

 private:
  std::optional<std::string> TakeEntry(std::string_view path, std::string_view rest,
                                       bool begins_line) {
    HostEntry entry;
    std::string_view content;
    if (rest == " =" || rest.starts_with(" = ")) {
      entry.kind = Kind::kFile;
      content = rest.substr(std::min<std::size_t>(3, rest.size()));
    } else if (rest.starts_with(" -> ")) {
      entry.kind = Kind::kLink;
      content = rest.substr(4);
    } else if (rest.empty() && path.ends_with('/')) {
      path.remove_suffix(1);
    } else {
      return Quoted(std::string(path).append(rest)) +
             "; expected PATH/, PATH = CONTENT or PATH -> TARGET";
    }
    bool newline = entry.kind == Kind::kFile;
    const std::optional<std::string> place = Place(path);
    std::optional<std::string> bytes = Unescape(content, newline ? &newline : nullptr);
    if (!place || !bytes) {
      return Quoted(place ? content : path) +
             "; expected of escapes \\0 \\n \\\\ \\xNN, \\c at the end of a content, and in a path "
             "no \\0 and no escaped /";
    }
    entry.content = std::move(*bytes);
    if (newline) entry.content += '\n';
    const bool is_folder = entry.kind == Kind::kFolder;
    if (std::optional<std::string> wrong = tree.Put(*place, std::move(entry))) return wrong;
    if (begins_line && is_folder) folder_ = *place;
    return std::nullopt;
  }

  // The place that `path` names; nullopt if it holds an escape that it may not.
  std::optional<std::string> Place(std::string_view path) const {
    const std::optional<std::string> names = Unescape(path);
    if (!names || names->find('\0') != std::string::npos) return std::nullopt;
    if (std::ranges::count(*names, '/') != std::ranges::count(path, '/')) return std::nullopt;
    return Join(folder_, *names);
  }

  std::string folder_;  // the last that was not indented; "" after another such entry
};

}  // namespace

std::optional<std::string> FollowLinks(
    std::string path,
    const std::function<std::optional<std::string>(const std::string& place)>& target) {
  std::string place;
  int links = 0;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (place.empty()) return std::nullopt;
      place.resize(place.find('/') == std::string::npos ? 0 : place.rfind('/'));
      continue;
    }
    std::string next = Join(place, name);
    const std::optional<std::string> to = target(next);
    if (!to) {
      place = std::move(next);
      continue;
    }
    if (++links > kMaxLinks || to->starts_with('/')) return std::nullopt;
    path = begin < path.size() ? Join(*to, std::string_view(path).substr(begin)) : *to;
    begin = 0;
  }
  return place;
}

std::optional<std::string> HostTree::Put(const std::string& place, HostEntry entry) {
  if (std::optional<std::string> wrong = WrongPlace(place)) return wrong;
  if (entry.kind == Kind::kLink) {
    if (std::optional<std::string> wrong = WrongTarget(place, entry.content)) return wrong;
  }
  std::vector<std::string> missing;  // of the folders above it and itself
  for (std::string above = place; above.find('/') != std::string::npos;) {
    above.resize(above.rfind('/'));
    const HostEntry* const found = Find(above);
    if (found != nullptr && found->kind != Kind::kFolder) {
      return Quoted(above) + " is " + Word(found->kind) + "; expected a folder";
    }
    if (found != nullptr) break;
    missing.push_back(above);
  }
  const HostEntry* const found = Find(place);
  if (found != nullptr && found->kind != entry.kind) {
    return Quoted(place) + " is " + Word(found->kind) + "; expected no other entry of that path";
  }
  if (found == nullptr) missing.push_back(place);
  std::size_t bytes = bytes_ + entry.content.size();
  for (const std::string& added : missing) bytes += added.size();
  if (found != nullptr) bytes -= found->content.size();
  if (bytes > kMaxHostTreeBytes || entries_.size() + missing.size() > kMaxHostEntries) {
    return "more than " + Number(kMaxHostEntries) + " entries, or " + Number(kMaxHostTreeBytes) +
           " bytes of paths and contents; expected less";
  }
  bytes_ = bytes;
  for (std::string& added : missing) entries_.emplace(std::move(added), HostEntry{});
  entries_.insert_or_assign(place, std::move(entry));
  return std::nullopt;
}

const HostEntry* HostTree::Find(const std::string& place) const {
  static const HostEntry kRoot;
  if (place.empty()) return &kRoot;
  const auto found = entries_.find(place);
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<std::string> HostTree::Names(const std::string& folder) const {
  const std::string prefix = folder.empty() ? "" : folder + "/";
  std::vector<std::string> names;
  for (auto at = entries_.lower_bound(prefix);
       at != entries_.end() && at->first.starts_with(prefix);) {
    const std::size_t slash = at->first.find('/', prefix.size());
    if (slash == std::string::npos) {
      names.push_back(at->first.substr(prefix.size()));
      ++at;
    } else {  // past all that is deeper: '0' comes after '/'
      at = entries_.lower_bound(at->first.substr(0, slash) + "0");
    }
  }
  return names;
}

std::optional<std::string> HostTree::Resolve(const std::string& path) const {
  return FollowLinks(path, [this](const std::string& place) {
    const HostEntry* const entry = Find(place);
    const bool is_link = entry != nullptr && entry->kind == Kind::kLink;
    return is_link ? std::optional(entry->content) : std::nullopt;
  });
}

std::optional<std::string> HostTree::Target(const std::string& path) const {
  const std::size_t slash = path.rfind('/');
  const std::optional<std::string> folder =
      slash == std::string::npos ? "" : Resolve(path.substr(0, slash));
  const HostEntry* const entry =
      folder ? Find(Join(*folder, std::string_view(path).substr(slash + 1))) : nullptr;
  const bool is_link = entry != nullptr && entry->kind == Kind::kLink;
  return is_link ? std::optional(entry->content) : std::nullopt;
}

std::string ToText(const HostTree& tree) {
  std::string text;
  for (const auto& [path, entry] : tree.entries()) {
    if (path.find('/') == std::string::npos && entry.kind != Kind::kFolder) {
      AppendLine(path, entry, &text);
    }
  }
  for (const auto& [folder, entry] : tree.entries()) {
    if (entry.kind != Kind::kFolder) continue;
    const std::vector<std::string> names = tree.Names(folder);
    std::string lines;
    for (const std::string& name : names) {
      const HostEntry& below = *tree.Find(Join(folder, name));
      if (below.kind == Kind::kFolder) continue;
      lines += "  ";
      AppendLine(name, below, &lines);
    }
    if (!names.empty() && lines.empty()) continue;  // what is deeper brings it along
    AppendPath(folder, &text);
    text.append("/\n").append(lines);
  }
  return text;
}

dt::Result<HostTree> ParseHostTree(std::string_view text, const std::string& file) {
  if (text.size() > kMaxHostTextBytes) {
    return dt::Error{dt::ErrorCode::kMalformed, file + ": more than " + Number(kMaxHostTextBytes) +
                                                    " bytes; expected a snapshot"};
  }
  Parser parser;
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (const auto wrong = parser.Take(text.substr(begin, end - begin))) {
      return dt::Error{dt::ErrorCode::kMalformed,
                       Printable(file + ":" + Number(number) + ": " + *wrong)};
    }
    begin = end + 1;
  }
  return std::move(parser.tree);
}

}  // namespace exporter
