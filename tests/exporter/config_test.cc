#include "exporter/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "exporter/options.h"
#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The options of these flags and a configuration file of this text.
std::variant<Options, Exit> ParseBoth(const std::string& yaml,
                                      const std::vector<std::string>& flags = {}) {
  const test_support::TemporaryDirectory folder;
  const std::string file = (folder.path() / "c.yaml").string();
  std::ofstream(file) << yaml;
  std::vector<std::string> arguments = {"devicetree-exporter", "--config.file=" + file};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  auto parsed = ParseOptions(static_cast<int>(argv.size()), argv.data(), {"1.2.3", "abc", "gcc"});
  if (Exit* exit = std::get_if<Exit>(&parsed)) {
    const std::size_t at = exit->text.find(file);
    if (at != std::string::npos) exit->text.replace(at, file.size(), "c.yaml");
  }
  return parsed;
}

Options Parse(const std::string& yaml, const std::vector<std::string>& flags = {}) {
  return std::get<Options>(ParseBoth(yaml, flags));
}

TEST(Config, EveryKindOfFlagCanStandInIt) {
  const Options options = Parse(R"(
labels:
  prefix: example.org
  nodes: [gpu, npu]
  value: count
  removal-delay: 1m
  kubernetes: true
  accelerator-state: ready
  vendor-rename: [a=b]
kubernetes: {watch: true, on-conflict: yield}
kubeconfig: /etc/k
collector: {pci: false, usb: true}
web:
  listen-address: [":1", "127.0.0.1:2"]
  telemetry-path: /m
path: {sysfs: /host/sys}
log: {level: warn, format: json}
)");
  EXPECT_EQ(options.labels.prefix, "example.org");
  EXPECT_THAT(options.labels.nodes, ElementsAre("gpu", "npu"));
  EXPECT_TRUE(options.labels.count_values);
  EXPECT_EQ(options.removal_delay, std::chrono::minutes(1));
  EXPECT_TRUE(options.kubernetes.labels);
  EXPECT_EQ(options.labels.accelerator_state, AcceleratorState::kReady);
  EXPECT_EQ(options.labels.vendor_renames.at("a"), "b");
  EXPECT_TRUE(options.kubernetes.watch);
  EXPECT_FALSE(options.kubernetes.force_conflicts);
  EXPECT_EQ(options.kubernetes.kubeconfig, "/etc/k");
  EXPECT_THAT(options.disabled_collectors, ElementsAre("pci"));
  EXPECT_THAT(options.listen_addresses, ElementsAre(":1", "127.0.0.1:2"));
  EXPECT_EQ(options.telemetry_path, "/m");
  EXPECT_EQ(options.paths.sysfs, "/host/sys");
  EXPECT_EQ(options.log_level, LogLevel::kWarn);
  EXPECT_EQ(options.log_format, LogFormat::kJson);
}

TEST(Config, TheCommandLineWins) {
  const Options options =
      Parse("labels: {prefix: example.org, nodes: [gpu]}\ncollector: {pci: false, usb: false}\n",
            {"--labels.prefix=a.b", "-n", "npu", "--collector.pci"});
  EXPECT_EQ(options.labels.prefix, "a.b");
  EXPECT_THAT(options.labels.nodes, ElementsAre("npu"));
  EXPECT_THAT(options.disabled_collectors, ElementsAre("usb"));
  EXPECT_THAT(Parse("collector: {pci: true}", {"--no-collector.pci"}).disabled_collectors,
              ElementsAre("pci"));
}

TEST(Config, ThatIsEmptySetsNothing) {
  EXPECT_EQ(Parse("").labels.prefix, "beta.devicetree.org");
  EXPECT_EQ(Parse("# nothing\n").labels.prefix, "beta.devicetree.org");
}

TEST(Config, AListMayHoldNothing) {
  EXPECT_THAT(Parse("labels: {nodes: []}").labels.nodes, IsEmpty());
}

TEST(Config, ThatIsWrongEndsWithOneLineThatNamesThePlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"labels:\n  prefx: a.b\n",
       "c.yaml:2:3: unknown key \"labels.prefx\"; expected perhaps \"labels.prefix\""},
      {"xyzzy: 1\n", "c.yaml:1:1: unknown key \"xyzzy\"; expected the name of a flag"},
      {"lables: {}\n", "c.yaml:1:1: unknown key \"lables\"; expected the name of a flag"},
      {"labels: {prefx: {}}\n",
       "c.yaml:1:10: unknown key \"labels.prefx\"; expected perhaps \"labels.prefix\""},
      {"labels: {prefix: {deep: 1}}\n", "c.yaml:1:19: unknown key \"labels.prefix.deep\""},
      {"labels:\n  prefix: Bad_\n",
       "c.yaml:2:11: --labels.prefix: \"Bad_\" given; expected a DNS subdomain"},
      {"labels:\n  prefix:\n", "c.yaml:2:3: \"labels.prefix\" has no value; expected one"},
      {"labels: {value: [1, count]}\n",
       "c.yaml:1:17: --labels.value: a list given; expected one value"},
      {"web: {listen-address: [\":1\", nonsense]}\n",
       "c.yaml:1:30: --web.listen-address: \"nonsense\""},
      {"labels: {nodes: [[a]]}\n", "c.yaml:1:18: \"labels.nodes\" holds something other than text"},
      {"labels: {kubernetes: maybe}\n",
       "c.yaml:1:22: --labels.kubernetes: \"maybe\" given; expected true or false"},
      {"labels: {kubernetes: [true]}\n",
       "c.yaml:1:22: --labels.kubernetes: a list given; expected true or false"},
      {"collector: {pci: off}\n",
       "c.yaml:1:18: --collector.pci: \"off\" given; expected true or false"},
      {"collector: {cpu: false}\n", "c.yaml:1:13: unknown key \"collector.cpu\""},
      {"no-collector: {pci: true}\n", "c.yaml:1:16: unknown key \"no-collector.pci\""},
      {"labels: {prefix: a.b}\nlabels.prefix: c.d\n", "c.yaml:2:1: \"labels.prefix\" stands at"},
      {"once: true\n",
       "c.yaml:1:1: \"once\" says what one run does; expected it on the command line"},
      {"config: {file: x}\n", "\"config.file\" says what one run does"},
      {"- a\n", "c.yaml:1:1: no mapping; expected flags under their names"},
      {"a: *x\n", "c.yaml:1:4: "},
      {"labels: {refresh: 1\n", "c.yaml:"},
      {"refresh: {interval: -1s}\n", "expected a duration such as 30s, 5m or 1h30m"},
  };
  for (const auto& [yaml, message] : cases) {
    const auto parsed = ParseBoth(yaml);
    ASSERT_TRUE(std::holds_alternative<Exit>(parsed)) << yaml;
    const Exit& exit = std::get<Exit>(parsed);
    EXPECT_EQ(exit.code, 2) << yaml;
    EXPECT_THAT(exit.text, HasSubstr(message)) << yaml;
    EXPECT_EQ(exit.text.find('\n'), exit.text.size() - 1) << yaml;
  }
}

TEST(Config, AGroupMayBeEmpty) {
  EXPECT_EQ(Parse("labels: {}\nkubernetes: {}\n").labels.prefix, "beta.devicetree.org");
}

TEST(Config, ThatCannotBeReadIsNamed) {
  const char* const argv[] = {"devicetree-exporter", "--config.file=/does/not/exist"};
  const auto parsed = ParseOptions(2, argv, {"1.2.3", "abc", "gcc"});
  EXPECT_EQ(std::get<Exit>(parsed).text,
            "devicetree-exporter: /does/not/exist: No such file or directory; expected YAML\n");
}

TEST(NearestWord, IsTheLeastDistantOneIfThatIsNear) {
  const std::vector<std::string> known = {"labels.prefix", "labels.nodes", "log.level"};
  EXPECT_EQ(NearestWord("labels.prefx", known), "labels.prefix");
  EXPECT_EQ(NearestWord("label.nodes", known), "labels.nodes");
  EXPECT_EQ(NearestWord("xyzzy", known), "");
  EXPECT_EQ(NearestWord(std::string(1000, 'a'), known), "");
}

}  // namespace
}  // namespace exporter
