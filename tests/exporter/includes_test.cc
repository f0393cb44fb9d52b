// The table of who may include whom, in CONTRIBUTING.md, as a test.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

struct Rule {
  const char* files;      // regular expression on the path from the repository root
  const char* forbidden;  // regular expression on what stands between the quotes or brackets
};

const Rule kRules[] = {
    {"dt/.*", "exporter/.*"},
    {"(?!dt/fdt_reader\\.cc).*", "libfdt.*"},
    {"exporter/inventory\\..*", "exporter/(?!inventory).*"},
    {"exporter/collectors/.*", "exporter/(projections|sinks)/.*|prometheus/.*|yaml-cpp/.*"},
    {"exporter/(host_tree|host_recorder|snapshot)\\..*", "exporter/(collectors|projections|sinks)/.*"},
    {"exporter/projections/.*", "exporter/(collectors|sinks)/.*|exporter/(collect|host_paths)\\.h"},
    {"exporter/projections/.*", "fstream|filesystem|fcntl.h|unistd.h|sys/socket.h"},
    {"exporter/sinks/.*", "dt/.*|exporter/(collectors|projections)/.*|exporter/inventory.h"},
    {"(?!exporter/projections/metrics\\.cc).*", "prometheus/.*"},
    {"exporter/(?!sinks/kubernetes/|log\\.cc|projections/inventory_json\\.cc).*", "nlohmann/.*"},
    {"exporter/sinks/kubernetes/(?!api_messages\\.cc).*", "nlohmann/.*"},
    {"(?!exporter/sinks/(http_server|kubernetes/https_client)\\.cc).*", "boost/.*"},
    {"(?!exporter/sinks/(http_server|kubernetes/https_client|password_checker|tls_context)\\.cc).*",
     "openssl/.*"},
    {"(?!exporter/sinks/password_checker\\.cc).*", "crypt.h"},
    {"(?!exporter/options\\.cc).*", "CLI/.*"},
    {"(?!exporter/yaml_document\\.cc).*", "yaml-cpp/.*"},
    {"(?!exporter/sinks/prepared_body\\.cc).*", "zlib.h"},
};

TEST(Includes, KeepToTheTable) {
  const std::filesystem::path root = SOURCE_DIR;
  const std::regex include("^\\s*#\\s*include\\s*[<\"]([^>\"]+)[>\"]");
  int includes = 0;
  for (const char* folder : {"dt", "exporter"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc") continue;
      const std::string file = std::filesystem::relative(entry.path(), root);
      std::ifstream stream(entry.path());
      for (std::string line; std::getline(stream, line);) {
        std::smatch match;
        if (!std::regex_search(line, match, include)) continue;
        ++includes;
        for (const Rule& rule : kRules) {
          EXPECT_FALSE(std::regex_match(file, std::regex(rule.files)) &&
                       std::regex_match(match[1].str(), std::regex(rule.forbidden)))
              << file << " includes " << match[1];
        }
      }
    }
  }
  EXPECT_GT(includes, 50) << "were the sources found?";
}

}  // namespace
