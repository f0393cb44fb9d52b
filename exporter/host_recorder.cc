#include "exporter/host_recorder.h"

#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace exporter {
namespace {

using Kind = HostEntry::Kind;

constexpr std::size_t kMaxUnreadable = 100;

// Globs on the names of files, and on the keys of a uevent, in lower case.
constexpr std::array kIdentifying = {
    "*serial*", "*addr*",     "*uuid*",   "*guid*",    "*uniq*",   "*wwid*",
    "*wwn*",    "*wwpn*",     "eui*",     "cid",       "*vpd*",    "*asset*",
    "*boot_id", "machine?id", "phys_*id", "host?name", "hostname", "*bootargs*",
    "*seed*",   "*secur*",    "*secret*", "*passw*",   "*token*",  "*key*"};

bool Identifies(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::any_of(
      kIdentifying, [&](const char* glob) { return fnmatch(glob, lower.c_str(), 0) == 0; });
}

// A uevent is lines KEY=VALUE.
std::string WithoutIdentifyingLines(std::string_view uevent) {
  std::string kept;
  while (!uevent.empty()) {
    const std::string_view line = uevent.substr(0, uevent.find('\n'));
    const std::string_view whole = uevent.substr(0, line.size() + 1);
    if (!Identifies(line.substr(0, line.find('=')))) kept += whole;
    uevent.remove_prefix(whole.size());
  }
  return kept;
}

bool IsHex(std::string_view text, std::size_t at) {
  return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])) != 0;
}

// The length of the MAC address (EUI-48, EUI-64, InfiniBand) that stands at `begin`, else 0.
std::size_t AddressLength(std::string_view text, std::size_t begin) {
  std::size_t at = begin;
  std::size_t pairs = 0;
  while (IsHex(text, at) && IsHex(text, at + 1) && !IsHex(text, at + 2)) {
    ++pairs;
    at += 2;
    if (at == text.size() || (text[at] != ':' && text[at] != '-')) break;
    ++at;
  }
  return pairs >= 6 ? at - begin : 0;
}

// The length of the UUID that stands at `begin`, else 0.
std::size_t UuidLength(std::string_view text, std::size_t begin) {
  std::size_t at = begin;
  for (const unsigned digits : {8U, 4U, 4U, 4U, 12U}) {
    if (at != begin && (at >= text.size() || text[at++] != '-')) return 0;
    for (const std::size_t end = at + digits; at < end; ++at) {
      if (!IsHex(text, at)) return 0;
    }
  }
  return IsHex(text, at) ? 0 : at - begin;
}

std::string Masked(std::string_view text) {
  std::string masked(text);
  for (std::size_t at = 0; at < text.size();) {
    const bool begins = at == 0 || !IsHex(text, at - 1);
    const std::size_t length = begins ? std::max(AddressLength(text, at), UuidLength(text, at)) : 0;
    for (const std::size_t end = at + std::max<std::size_t>(length, 1); at < end; ++at) {
      if (length > 0 && IsHex(text, at)) masked[at] = 'x';
    }
  }
  return masked;
}

// Whether a snapshot may hold the property.
bool MayKeep(const dt::Property& property, bool in_aliases, bool in_chosen) {
  if (property.name.find('/') != std::string_view::npos) return false;  // no file can be called so
  if (in_aliases) return property.bytes.starts_with('/');
  return !in_chosen || property.name == "compatible" || property.name == "status";
}

}  // namespace

HostRecorder::HostRecorder(const HostPaths& paths, const HostTree* snapshot, HostRecord* record)
    : paths_(paths), snapshot_(snapshot), record_(*record) {}

void HostRecorder::Saw(const std::string& path) {
  const std::optional<std::string> place = Follow(path);
  // What links of_node lead to is the devicetree's to say.
  if (!place || place->starts_with(kHostDevicetree)) return;
  const std::optional<Kind> kind = KindAt(*place);
  if (kind == Kind::kFolder) Put(*place, Kind::kFolder);
  if (kind == Kind::kFile && record_.tree.Find(Masked(*place)) == nullptr) SawFile(*place, "");
}

void HostRecorder::SawNames(const std::string& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) Saw(std::string(folder).append("/").append(name));
}

void HostRecorder::SawFile(const std::string& path, std::string_view bytes) {
  const std::optional<std::string> place = Follow(path);
  if (!place) return;
  const std::string name = place->substr(place->rfind('/') + 1);
  if (Identifies(name) || Identifies(path.substr(path.rfind('/') + 1))) return;
  Put(*place, Kind::kFile, name == "uevent" ? WithoutIdentifyingLines(bytes) : bytes);
}

void HostRecorder::SawDevicetree(const dt::Tree& tree) {
  struct Place {
    std::string path;
    bool in_chosen;
  };
  std::vector<Place> places;  // of each node
  for (const dt::Node& node : tree.nodes()) {
    Place place{std::string(kHostDevicetree), false};
    const bool is_root = places.empty();
    const bool at_top = !is_root && node.parent == 0;
    if (!is_root) {
      std::string name(node.name);
      // A property of that name is in the way: the node is called as Linux calls it then
      // (drivers/of/kobj.c, safe_name).
      if (tree.FindProperty(tree.nodes()[node.parent], name)) name += "#1";
      place = {places[node.parent].path + "/" + name,
               places[node.parent].in_chosen || (at_top && name == "chosen")};
    }
    Put(place.path, Kind::kFolder);
    for (const dt::Property& property : tree.Properties(node)) {
      if (!MayKeep(property, at_top && node.name == "aliases", place.in_chosen)) continue;
      Put(place.path + "/" + std::string(property.name), Kind::kFile, property.bytes);
    }
    places.push_back(std::move(place));
  }
}

void HostRecorder::SawDev() { Put(std::string(kHostDev), Kind::kFolder); }

void HostRecorder::SawDeviceNode(const std::string& name) {
  Put(std::string(kHostDev) + "/" + name, Kind::kFile);
}

void HostRecorder::Failed(const std::string& message) {
  const std::string& root = snapshot_ == nullptr ? paths_.sysfs : paths_.snapshot;
  std::string what = Masked(message.substr(message.starts_with(root + "/") ? root.size() + 1 : 0));
  std::vector<std::string>& known = record_.unreadable;
  if (known.size() < kMaxUnreadable && std::ranges::find(known, what) == known.end()) {
    known.push_back(std::move(what));
  }
}

std::optional<std::string> HostRecorder::Target(const std::string& place) const {
  if (snapshot_ != nullptr) return snapshot_->Target(place);
  std::array<char, kMaxHostPathBytes> target;
  const ssize_t size = readlink((paths_.sysfs + "/" + place).c_str(), target.data(), target.size());
  if (size <= 0) return std::nullopt;
  return std::string(target.data(), static_cast<std::size_t>(size));
}

std::optional<Kind> HostRecorder::KindAt(const std::string& place) const {
  if (snapshot_ != nullptr) {
    const HostEntry* const entry = snapshot_->Find(place);
    return entry == nullptr ? std::nullopt : std::optional(entry->kind);
  }
  struct stat info {};
  if (lstat((paths_.sysfs + "/" + place).c_str(), &info) != 0) return std::nullopt;
  if (S_ISDIR(info.st_mode)) return Kind::kFolder;
  return S_ISREG(info.st_mode) ? std::optional(Kind::kFile) : std::nullopt;
}

std::optional<std::string> HostRecorder::Follow(const std::string& path) {
  return FollowLinks(path, [this](const std::string& place) {
    std::optional<std::string> target = Target(place);
    if (target) Put(place, Kind::kLink, *target);
    return target;
  });
}

void HostRecorder::Put(const std::string& place, Kind kind, std::string_view content) {
  if (const auto wrong = record_.tree.Put(Masked(place), {kind, Masked(content)})) Failed(*wrong);
}

}  // namespace exporter
