#include "exporter/sinks/nfd_feature_file.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>
#include <system_error>

#include "exporter/sinks/atomic_file.h"

namespace exporter {

std::string ToNfdFeatures(const LabelSet& labels,
                          std::optional<std::chrono::system_clock::time_point> expiry) {
  std::string text = "# Written by devicetree-exporter. A change here will be overwritten.\n";
  if (expiry) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(*expiry);
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    std::array<char, sizeof "2023-07-29T11:22:33Z"> rfc3339;
    std::strftime(rfc3339.data(), rfc3339.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    // Holds for the lines below it.
    text += "# +expiry-time=" + std::string(rfc3339.data()) + "\n";
  }
  for (const Label& label : labels) text += label.key + "=" + label.value + "\n";
  return text;
}

LabelSet ParseNfdFeatures(std::string_view text, std::chrono::system_clock::time_point now) {
  constexpr std::string_view kExpiry = "# +expiry-time=";
  LabelSet labels;
  bool expired = false;
  while (!text.empty()) {
    const std::string line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with(kExpiry)) {
      std::tm utc{};
      const char* const end = strptime(line.c_str() + kExpiry.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
      expired = end == nullptr || std::chrono::system_clock::from_time_t(timegm(&utc)) <= now;
    }
    const std::size_t equals = line.find('=');
    if (expired || line.starts_with('#') || equals == std::string::npos) continue;
    labels.push_back({line.substr(0, equals), line.substr(equals + 1)});
  }
  return labels;
}

bool WriteNfdFeatures(const std::string& path, std::string_view features, std::string* error) {
  if (features.size() > kMaxNfdFeatureBytes) {
    *error = path + ": " + std::to_string(features.size()) + " bytes; NFD reads at most " +
             std::to_string(kMaxNfdFeatureBytes);
    return false;
  }
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failure;
  if (!folder.empty()) std::filesystem::create_directories(folder, failure);
  if (failure) {
    *error = folder.string() + ": " + failure.message();
    return false;
  }
  return WriteAtomically(path, features, 0644, error);
}

}  // namespace exporter
