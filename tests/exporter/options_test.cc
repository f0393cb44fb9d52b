#include "exporter/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
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
  EXPECT_EQ(options.removal_delay, std::chrono::seconds(30));
}

TEST(Options, MayBeGivenAsTheyAreByDefault) {
  const auto options = std::get<Options>(
      Parse({"--labels.value=1", "--kubernetes.on-conflict=force", "--log.format=logfmt"}));
  EXPECT_FALSE(options.labels.count_values);
  EXPECT_TRUE(options.kubernetes.force_conflicts);
  EXPECT_EQ(options.log_format, LogFormat::kLogfmt);
}

TEST(Options, WriteNothingToKubernetesUnlessTold) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{
           {}, {"--kubeconfig", "a"}, {"--kubernetes.watch"}, {"--kubernetes.adopt"}}) {
    EXPECT_FALSE(std::get<Options>(Parse(arguments)).kubernetes.labels);
    EXPECT_EQ(std::get<Options>(Parse(arguments)).nfd_feature_file, "");
  }
  EXPECT_TRUE(std::get<Options>(Parse({"--labels.kubernetes"})).kubernetes.labels);
}

TEST(Options, OfKubernetesHaveTheDefaultsOfTheContract) {
  const KubernetesOptions kubernetes =
      std::get<Options>(Parse({"--labels.kubernetes"})).kubernetes;
  EXPECT_EQ(kubernetes.kubeconfig, "");
  EXPECT_EQ(kubernetes.context, "");
  EXPECT_EQ(kubernetes.node_name, "");
  EXPECT_EQ(kubernetes.resync_interval, std::chrono::minutes(5));
  EXPECT_EQ(kubernetes.start_jitter, std::chrono::seconds(30));
  EXPECT_TRUE(kubernetes.force_conflicts);
  EXPECT_FALSE(kubernetes.watch);
  EXPECT_FALSE(kubernetes.adopt);
}

TEST(Options, OfKubernetesAreTaken) {
  const KubernetesOptions kubernetes =
      std::get<Options>(
          Parse({"--labels.kubernetes", "--kubeconfig=/k", "--kubernetes.context=c",
                 "--kubernetes.node-name=edge-1.example", "--kubernetes.resync-interval=1h30m",
                 "--kubernetes.start-jitter=0", "--kubernetes.watch",
                 "--kubernetes.on-conflict=yield", "--kubernetes.adopt"}))
          .kubernetes;
  EXPECT_TRUE(kubernetes.labels);
  EXPECT_EQ(kubernetes.kubeconfig, "/k");
  EXPECT_EQ(kubernetes.context, "c");
  EXPECT_EQ(kubernetes.node_name, "edge-1.example");
  EXPECT_EQ(kubernetes.resync_interval, std::chrono::minutes(90));
  EXPECT_EQ(kubernetes.start_jitter, std::chrono::seconds(0));
  EXPECT_TRUE(kubernetes.watch);
  EXPECT_FALSE(kubernetes.force_conflicts);
  EXPECT_TRUE(kubernetes.adopt);
}

TEST(Options, NoTwoActionsGoTogether) {
  const std::vector<const char*> actions[] = {{"-d"},
                                              {"--explain"},
                                              {"--once", "--labels.kubernetes"},
                                              {"--cleanup"},
                                              {"-f"}};
  for (const auto& first : actions) {
    EXPECT_TRUE(std::holds_alternative<Options>(Parse(first))) << first[0];
    for (const auto& second : actions) {
      if (&first == &second) continue;
      std::vector<const char*> both = first;
      both.insert(both.end(), second.begin(), second.end());
      const auto parsed = Parse(both);
      ASSERT_TRUE(std::holds_alternative<Exit>(parsed)) << first[0] << second[0];
      EXPECT_EQ(std::get<Exit>(parsed).code, 2);
      EXPECT_THAT(std::get<Exit>(parsed).text, HasSubstr("expected one; see --help\n"));
    }
  }
}

TEST(Options, OnceNeedsSomewhereToWrite) {
  EXPECT_EQ(std::get<Exit>(Parse({"--once"})).code, 2);
  EXPECT_THAT(std::get<Exit>(Parse({"--once", "--kubeconfig=a"})).text,
              HasSubstr("devicetree-exporter: --once: nowhere to write; expected "));
  EXPECT_TRUE(std::get<Options>(Parse({"--once", "--labels.kubernetes"})).once);
  EXPECT_TRUE(std::get<Options>(Parse({"--once", "--nfd.feature-file=a"})).once);
}

TEST(Options, WriteOnceIsForTheFeatureFile) {
  EXPECT_TRUE(std::get<Options>(Parse({"-f"})).nfd_write_once);
  const auto options = std::get<Options>(Parse({"--nfd.write-once", "--nfd.feature-file=a"}));
  EXPECT_TRUE(options.nfd_write_once);
  EXPECT_EQ(options.nfd_feature_file, "a");
  EXPECT_EQ(std::get<Exit>(Parse({"-f", "--labels.kubernetes"})).text,
            "devicetree-exporter: --nfd.write-once: --labels.kubernetes given as well; expected "
            "--once with --nfd.feature-file to write both; see --help\n");
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
      {{"--labels.vendor-rename", "=xilinx"}, "expected FROM=TO"},
      {{"--log.level", "loud"}, "expected debug, info, warn or error"},
      {{"--log.format", "xml"}, "--log.format: \"xml\" given; expected logfmt or json"},
      {{"--web.telemetry-path", "metrics"}, "expected a path that begins with /"},
      {{"--web.telemetry-path", "/"}, "--web.telemetry-path: \"/\" given; expected a path"},
      {{"--web.listen-address", ":123456"}, "\":123456\" given"},
      {{"--web.listen-address", "127.0.0.1:"}, "\"127.0.0.1:\" given"},
      {{"--web.listen-address", "9931"}, "--web.listen-address: \"9931\" given; expected [HOST]:PORT"},
      {{"--web.listen-address", ":99310"}, ":99310"},
      {{"--web.listen-address", ":"}, "\":\" given"},
      {{"--web.listen-address", "::1:9931"}, "\"::1:9931\" given"},
      {{"--web.listen-address", "[::g]:9931"}, "[::g]:9931"},
      {{"--web.listen-address", ":80,:81"}, ":80,:81"},
      {{"--kubernetes.on-conflict", "ignore"},
       "--kubernetes.on-conflict: \"ignore\" given; expected force or yield"},
      {{"--kubernetes.on-conflict="}, "--kubernetes.on-conflict"},
      {{"--kubernetes.resync-interval", "0"},
       "--kubernetes.resync-interval: \"0\" given; expected a duration such as 30s, 5m or 1h30m, "
       "above 0"},
      {{"--kubernetes.resync-interval", "0s"}, "\"0s\" given"},
      {{"--kubernetes.resync-interval", "5"}, "--kubernetes.resync-interval: \"5\" given"},
      {{"--kubernetes.resync-interval=-5m"}, "--kubernetes.resync-interval: \"-5m\" given"},
      {{"--kubernetes.start-jitter", "soon"},
       "--kubernetes.start-jitter: \"soon\" given; expected a duration such as"},
      {{"--labels.removal-delay", "1m1h"}, "--labels.removal-delay: \"1m1h\" given"},
      {{"--labels.removal-delay", "0000000001s"}, "\"0000000001s\" given"},
      {{"--labels.removal-delay", "999999999w"}, "\"999999999w\" given"},
      {{"--labels.removal-delay", ""}, "--labels.removal-delay"},
      {{"--kubernetes.node-name", "Edge-1"},
       "--kubernetes.node-name: \"Edge-1\" given; expected a DNS subdomain"},
      {{"--kubernetes.node-name", "../edge"}, "--kubernetes.node-name: \"../edge\" given"},
      {{"--kubernetes.node-name", "edge?force=true"}, "--kubernetes.node-name"},
      {{"--kubernetes.node-name", "edge-"}, "--kubernetes.node-name"},
      {{"--kubernetes.node-name="}, "--kubernetes.node-name"},
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
