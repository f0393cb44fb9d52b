#include "exporter/log.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

#include "exporter/printable.h"

namespace exporter {
namespace {

constexpr std::array<std::string_view, 4> kWords = {"debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 4> kShown = {"DEBUG", "INFO", "WARN", "ERROR"};

std::string Now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s.%03dZ", date.data(), static_cast<int>(milliseconds));
  return text.data();
}

std::string Quoted(std::string_view value) {
  std::string text = Printable(value);
  if (!text.empty() && text.find_first_of(" =\"\\") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

std::string ToLogfmt(std::string_view level, std::string_view message,
                     std::initializer_list<LogField> fields) {
  std::string line = "time=" + Now() + " level=" + std::string(level) + " msg=" + Quoted(message);
  for (const LogField& field : fields) {
    line += " " + std::string(field.key) + "=" + Quoted(field.value);
  }
  return line;
}

std::string ToJson(std::string_view level, std::string_view message,
                   std::initializer_list<LogField> fields) {
  nlohmann::ordered_json line = {{"time", Now()}, {"level", level}, {"msg", Printable(message)}};
  for (const LogField& field : fields) line[std::string(field.key)] = Printable(field.value);
  return line.dump();
}

}  // namespace

std::optional<LogLevel> ParseLogLevel(std::string_view word) {
  for (std::size_t i = 0; i < kWords.size(); ++i) {
    if (kWords[i] == word) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

void Log::Write(LogLevel level, std::string_view message,
                std::initializer_list<LogField> fields) const {
  if (level < least_) return;
  const std::string_view shown = kShown[static_cast<std::size_t>(level)];
  const std::string line = (format_ == LogFormat::kJson ? ToJson(shown, message, fields)
                                                        : ToLogfmt(shown, message, fields)) +
                           '\n';
  // In one write, so that lines of several threads do not mix.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // nowhere left to say so
}

}  // namespace exporter
