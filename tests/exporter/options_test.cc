#include "exporter/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::variant<Options, Exit> Parse(const std::vector<const char*>& arguments) {
  std::vector<const char*> argv = {"devicetree-exporter"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return ParseOptions(static_cast<int>(argv.size()), argv.data(), {"1.2.3", "abc", "gcc 12"});
}

TEST(Options, SeveralNamesMayFollowN) {
  const auto options = std::get<Options>(Parse({"-n", "gpu", "pwm-fan", "-d", "-n", "cpu"}));
  EXPECT_THAT(options.labels.nodes, ElementsAre("gpu", "pwm-fan", "cpu"));
  EXPECT_TRUE(options.dry_run);
}

TEST(Options, HaveTheDefaultsOfTheContract) {
  const auto options = std::get<Options>(Parse({}));
  EXPECT_EQ(options.labels.prefix, "beta.devicetree.org");
  EXPECT_THAT(options.labels.nodes, ElementsAre());
  EXPECT_FALSE(options.labels.count_values);
  EXPECT_THAT(options.listen_addresses, ElementsAre(":9931"));
  EXPECT_EQ(options.telemetry_path, "/metrics");
  EXPECT_EQ(options.paths.sysfs, "/sys");
}

TEST(Options, TheLastOfEnableAndDisableCounts) {
  EXPECT_TRUE(std::get<Options>(Parse({"--no-collector.devicetree"}))
                  .disabled_collectors.contains("devicetree"));
  EXPECT_FALSE(
      std::get<Options>(Parse({"--no-collector.devicetree", "--collector.devicetree"}))
          .disabled_collectors.contains("devicetree"));
}

TEST(Options, ThatAreWrongEndWithOneLineThatNamesThem) {
  const std::pair<std::vector<const char*>, const char*> cases[] = {
      {{"--foo"}, "unknown argument \"--foo\""},
      {{"-d", "stray"}, "unknown argument \"stray\""},
      {{"-n"}, "--labels.nodes"},
      {{"--labels.prefix", "Foo_Bar"}, "--labels.prefix: \"Foo_Bar\" given; expected a DNS subdomain"},
      {{"--labels.prefix="}, "--labels.prefix"},
      {{"--labels.value", "2"}, "--labels.value: \"2\" given; expected 1 or count"},
      {{"--labels.vendor-rename", "xlnx"}, "expected FROM=TO"},
      {{"--log.level", "loud"}, "expected debug, info, warn or error"},
      {{"--web.telemetry-path", "metrics"}, "expected a path that begins with /"},
      {{"--web.listen-address", "9931"}, "--web.listen-address: \"9931\" given; expected [HOST]:PORT"},
      {{"--web.listen-address", ":99310"}, ":99310"},
      {{"--web.listen-address", ":"}, "\":\" given"},
      {{"--web.listen-address", "::1:9931"}, "\"::1:9931\" given"},
      {{"--web.listen-address", "[::g]:9931"}, "[::g]:9931"},
      {{"--web.listen-address", ":80,:81"}, ":80,:81"},
  };
  for (const auto& [arguments, part] : cases) {
    const auto parsed = Parse(arguments);
    ASSERT_TRUE(std::holds_alternative<Exit>(parsed)) << part;
    const Exit& exit = std::get<Exit>(parsed);
    EXPECT_EQ(exit.code, 2) << part;
    EXPECT_THAT(exit.text, HasSubstr(part));
    EXPECT_EQ(exit.text.find('\n'), exit.text.size() - 1) << exit.text;
  }
}

TEST(Options, ASnapshotStandsForAllOfTheHardware) {
  EXPECT_EQ(std::get<Options>(Parse({"--path.snapshot", "a"})).paths.snapshot, "a");
  for (const char* flag :
       {"--path.sysfs=/x", "--path.procfs=/x", "--path.dev=/x", "--path.devicetree=/x"}) {
    EXPECT_EQ(std::get<Exit>(Parse({flag, "--path.snapshot=a"})).text,
              "devicetree-exporter: --path.snapshot: stands for all of the hardware; expected no "
              "--path.sysfs, --path.procfs, --path.dev or --path.devicetree beside it; see "
              "--help\n");
  }
}

TEST(Options, ToWriteASnapshotIsAllThatARunDoes) {
  EXPECT_EQ(std::get<Options>(Parse({"--snapshot", "-"})).snapshot, "-");
  EXPECT_EQ(std::get<Exit>(Parse({"--snapshot", ""})).text,
            "devicetree-exporter: --snapshot: \"\" given; expected a file, or -; see --help\n");
  for (const char* flag :
       {"-d", "--explain", "--once", "--cleanup", "--nfd.write-once", "--config.check"}) {
    EXPECT_EQ(std::get<Exit>(Parse({"--snapshot", "a", flag})).text,
              "devicetree-exporter: more than one of --dry-run, --explain, --once, --cleanup, "
              "--nfd.write-once, --snapshot and --config.check given; expected one; see --help\n");
  }
}

TEST(Options, ThatShowSomethingExitWithSuccess) {
  for (const char* flag : {"--help", "-h", "--version"}) {
    EXPECT_EQ(std::get<Exit>(Parse({flag})).code, 0) << flag;
  }
  EXPECT_THAT(std::get<Exit>(Parse({"--version"})).text, HasSubstr("version 1.2.3"));
}

}  // namespace
}  // namespace exporter
