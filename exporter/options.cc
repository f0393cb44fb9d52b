#include "exporter/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "exporter/collect.h"
#include "exporter/config.h"
#include "exporter/printable.h"
#include "exporter/sinks/http_server.h"
#include "exporter/yaml_document.h"

namespace exporter {
namespace {

constexpr int kUsageError = 2;
constexpr double kMaxDurationSeconds = 3e9;  // 95 years, so that nanoseconds fit 64 bits

// CLI11 takes a non-empty answer for the reason why a value is refused, and puts
// the flag's name before it.
CLI::Validator Expect(std::string what, std::function<bool(const std::string&)> accepts) {
  return CLI::Validator(
      [what = std::move(what), accepts = std::move(accepts)](const std::string& value) {
        return accepts(value) ? std::string()
                              : "\"" + Printable(value) + "\" given; expected " + what;
      },
      "");
}

// A duration as Prometheus writes it: "30s", "5m", "1h30m", "500ms", "0".
std::optional<std::chrono::duration<double>> ParseDuration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double seconds;
  };
  // In this order, as Prometheus has it; ms before m and s, which it begins with.
  constexpr std::array kUnits = {Unit{"w", 604800}, Unit{"d", 86400}, Unit{"h", 3600},
                                 Unit{"m", 60},     Unit{"s", 1},     Unit{"ms", 0.001}};
  if (text == "0") return std::chrono::duration<double>(0);
  double seconds = 0;
  std::size_t next_unit = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const std::string_view number = text.substr(0, digits);
    text.remove_prefix(digits);
    const std::string_view name = text.substr(0, text.find_first_of("0123456789"));
    text.remove_prefix(name.size());
    std::size_t unit = next_unit;
    while (unit < kUnits.size() && kUnits[unit].name != name) ++unit;
    if (number.empty() || number.size() > 9 || unit == kUnits.size()) return std::nullopt;
    seconds += std::stod(std::string(number)) * kUnits[unit].seconds;
    next_unit = unit + 1;
  }
  if (seconds > kMaxDurationSeconds) return std::nullopt;
  return std::chrono::duration<double>(seconds);
}

CLI::Validator ExpectDuration() {
  return Expect("a duration such as 30s, 5m or 1h30m",
                [](const auto& v) { return ParseDuration(v).has_value(); });
}

CLI::Validator ExpectPositiveDuration() {
  return Expect("a duration such as 30s, 5m or 1h30m, above 0", [](const auto& v) {
    const auto duration = ParseDuration(v);
    return duration && duration->count() > 0;
  });
}

// "xlnx=xilinx"
bool IsRename(const std::string& value) {
  const std::size_t equals = value.find('=');
  return equals != std::string::npos && equals > 0;
}

// What CLI11 says may have several lines.
std::string OneLine(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return Printable(text);
}

constexpr const char* kProgram = "devicetree-exporter";

Exit UsageError(const std::string& message) {
  return Exit{kUsageError, std::string(kProgram) + ": " + OneLine(message) + "; see --help\n"};
}

Exit ConfigError(const std::string& message) {
  return Exit{kUsageError, std::string(kProgram) + ": " + OneLine(message) + "\n"};
}

// What flags hold before it is known what it means.
struct Text {
  std::string label_value = "1";
  std::string log_level = "info";
  std::string log_format = "logfmt";
  std::string accelerator_state = "enabled";
  std::string removal_delay = "30s";
  std::string refresh_interval = "5m";
  std::string resync_interval = "5m";
  std::string start_jitter = "30s";
  std::string on_conflict = "force";
  std::vector<std::string> renames;
  std::string config_file;
  bool version = false;
};

// What a run does: that is for the command line alone.
constexpr std::array<std::string_view, 10> kActions = {
    "config.check", "config.file",    "dry-run", "cleanup",  "explain",
    "help",         "nfd.write-once", "once",    "snapshot", "version"};

void DefineFlags(CLI::App* app, Options* options, Text* text) {
  app->set_help_flag("-h,--help", "Show this text and exit.");
  app->add_flag("--version", text->version, "Show the version and exit.");
  app->add_option("--config.file", text->config_file,
                  "YAML file in which every flag can stand, under its name split at the dots; the "
                  "command line wins.")
      ->type_name("FILE");
  app->add_flag("--config.check", options->config_check,
                "Check the flags and all files of the configuration, and exit: 0 if they are good, "
                "else 2.");
  app->add_flag("-d,--dry-run", options->dry_run,
                "Print this node's labels on standard output and exit.");

  // CLI11 has no option whose value may be left out after a space: "" is everything.
  app->add_option("--explain", options->explain,
                  "Say where labels and accelerators come from, and exit: all of them, or the one "
                  "of a label key, a compatible or an address.")
      ->expected(0, 1)
      ->default_str("")
      ->type_name("[TOPIC]");
  app->add_option("--snapshot", options->snapshot,
                  "Write what is read of the hardware, without serial numbers, into this file for "
                  "a bug report, and exit; -: on standard output.")
      ->check(Expect("a file, or -", [](const auto& v) { return !v.empty(); }))
      ->type_name("FILE");

  app->add_option("-n,--labels.nodes", options->labels.nodes,
                  "Devicetree nodes that give labels besides the root: names (gpu), paths, aliases "
                  "or globs. Several may follow.")
      ->type_name("NAME");
  app->add_option("--labels.prefix", options->labels.prefix,
                  "What stands before the / of every key.")
      ->check(Expect("a DNS subdomain in lower case, at most 253 characters", IsLabelPrefix))
      ->type_name("DOMAIN")
      ->capture_default_str();
  app->add_option("--labels.value", text->label_value,
                  "Value of the labels: 1, or the number of matching nodes (count).")
      ->check(Expect("1 or count", [](const auto& v) { return v == "1" || v == "count"; }))
      ->type_name("1|count")
      ->capture_default_str();
  app->add_option("--labels.include", options->labels.include,
                  "Globs on the name after the /: only these labels. Default: all.")
      ->type_name("GLOB");
  app->add_option("--labels.exclude", options->labels.exclude,
                  "Globs on the name after the /: not these labels.")
      ->type_name("GLOB");
  app->add_flag("--labels.include-disabled", options->labels.include_disabled,
                "Designated nodes that are not enabled give labels too.");
  app->add_option("--labels.vendor-rename", text->renames,
                  "Vendor prefixes to rename in label names. Default: xlnx=xilinx.")
      ->check(Expect("FROM=TO", IsRename))
      ->type_name("FROM=TO");

  app->add_option("--labels.accelerator-state", text->accelerator_state,
                  "How far an accelerator must be usable to give labels: described, enabled, bound "
                  "or ready.")
      ->check(Expect("described, enabled, bound or ready",
                     [](const auto& v) {
                       return std::ranges::find(kAcceleratorStates, v) !=
                              std::ranges::end(kAcceleratorStates);
                     }))
      ->type_name("STATE")
      ->capture_default_str();
  app->add_option("--labels.removal-delay", text->removal_delay,
                  "How long the labels of a PCI or USB accelerator stay after it is gone.")
      ->check(ExpectDuration())
      ->type_name("DURATION")
      ->capture_default_str();
  app->add_option("--catalogue.file", options->catalogue_file,
                  "Accelerators to know besides the built-in ones, or instead: YAML like "
                  "exporter/accelerators.yaml.")
      ->type_name("FILE");
  app->add_option("--refresh.interval", text->refresh_interval,
                  "How often to read the hardware where the kernel's events cannot be had, and the "
                  "longest wait after a read that failed; 0: never.")
      ->check(ExpectDuration())
      ->type_name("DURATION")
      ->capture_default_str();

  app->add_flag("--labels.kubernetes", options->kubernetes.labels,
                "Apply the labels to this machine's Node object.");
  app->add_option("--kubeconfig", options->kubernetes.kubeconfig,
                  "How to reach the Kubernetes API. Default: $KUBECONFIG, a pod's service account, "
                  "~/.kube/config.")
      ->type_name("FILE");
  app->add_option("--kubernetes.context", options->kubernetes.context,
                  "Context of the kubeconfig. Default: its current one.")
      ->type_name("NAME");
  app->add_option("--kubernetes.node-name", options->kubernetes.node_name,
                  "Name of this machine's Node. Default: $NODE_NAME, else the host name.")
      ->check(Expect("a DNS subdomain in lower case, at most 253 characters", IsLabelPrefix))
      ->type_name("NAME");
  app->add_option(
         "--kubernetes.resync-interval", text->resync_interval,
         "How often to look whether the Node still carries its labels, give or take a fifth.")
      ->check(ExpectPositiveDuration())
      ->type_name("DURATION")
      ->capture_default_str();
  app->add_option("--kubernetes.start-jitter", text->start_jitter,
                  "The first apply comes within this time, at a moment that depends on the Node's "
                  "name.")
      ->check(ExpectDuration())
      ->type_name("DURATION")
      ->capture_default_str();
  app->add_flag("--kubernetes.watch", options->kubernetes.watch,
                "Have the API server tell when the Node changes, and set it right within a second: "
                "needs the rights list and watch.");
  app->add_option("--kubernetes.on-conflict", text->on_conflict,
                  "What to do about a label that another field manager holds with another value: "
                  "take it (force, at most 3 times an hour), or leave it (yield).")
      ->check(Expect("force or yield", [](const auto& v) { return v == "force" || v == "yield"; }))
      ->type_name("force|yield")
      ->capture_default_str();
  app->add_flag("--kubernetes.adopt", options->kubernetes.adopt,
                "Remove the labels under the prefix that others left on the Node, such as "
                "k8s-dt-node-labeller.");
  app->add_option("--nfd.feature-file", options->nfd_feature_file,
                  "Write the labels into this local feature file of Node Feature Discovery, and "
                  "renew it while we live.")
      ->type_name("FILE");
  app->add_flag("-f,--nfd.write-once", options->nfd_write_once,
                "Write that file once, without an expiry, and exit. Default file: "
                "/etc/kubernetes/node-feature-discovery/features.d/devicetree-features.");
  app->add_flag(
      "--once", options->once,
      "Write the labels where the flags say, and exit: 0 if they are there (or left to others "
      "by --kubernetes.on-conflict=yield), else 1.");
  app->add_flag("--cleanup", options->cleanup,
                "Remove all labels under the prefix from this machine's Node (and the file of "
                "--nfd.feature-file), and exit: 0 if they are gone, else 1.");

  app->add_option("--path.sysfs", options->paths.sysfs, "Where the host's sysfs is mounted.")
      ->type_name("DIR")
      ->capture_default_str();
  app->add_option("--path.procfs", options->paths.procfs, "Where the host's procfs is mounted.")
      ->type_name("DIR")
      ->capture_default_str();
  app->add_option("--path.dev", options->paths.dev,
                  "Where the host's /dev is mounted: an accelerator is then ready only if its "
                  "device node is there. Default: not looked at.")
      ->type_name("DIR");
  app->add_option("--path.devicetree", options->paths.devicetree,
                  "Devicetree to read instead of the host's: a directory or a .dtb file.")
      ->type_name("PATH");
  app->add_option("--path.snapshot", options->paths.snapshot,
                  "What --snapshot wrote, to read instead of this machine's hardware.")
      ->type_name("FILE");
  for (const std::string_view name : CollectorNames()) {
    const std::string collector(name);
    app->add_flag_callback(
           "--no-collector." + collector,
           [options, collector] { options->disabled_collectors.insert(collector); },
           "Disable the " + collector + " collector.")
        ->trigger_on_parse();
    app->add_flag_callback(
           "--collector." + collector,
           [options, collector] { options->disabled_collectors.erase(collector); },
           "Enable the " + collector + " collector (default: enabled).")
        ->trigger_on_parse();
  }

  app->add_option("--web.listen-address", options->listen_addresses,
                  "Addresses to serve on; all IPv4 and IPv6 ones without a host. Repeatable.")
      ->check(Expect("[HOST]:PORT, an IPv6 host in brackets", IsListenAddress))
      ->type_name("[HOST]:PORT")
      ->capture_default_str();
  app->add_option("--web.telemetry-path", options->telemetry_path, "Path of the metrics.")
      ->check(Expect("a path that begins with /",
                     [](const auto& v) { return v.starts_with('/') && v.size() > 1; }))
      ->type_name("PATH")
      ->capture_default_str();
  app->add_option("--web.config.file", options->web_config_file,
                  "TLS, users, headers and a rate limit for what is served, in the format of "
                  "Prometheus and its exporters.")
      ->type_name("FILE");
  app->add_flag("--web.enable-lifecycle", options->enable_lifecycle,
                "POST /-/reload reads the configuration and the hardware again.");
  app->add_option("--textfile.directory", options->textfile_directory,
                  "Write the metrics into this directory of node_exporter's textfile collector.")
      ->type_name("DIR");
  app->add_option("--log.format", text->log_format, "How log lines are written.")
      ->check(Expect("logfmt or json", [](const auto& v) { return v == "logfmt" || v == "json"; }))
      ->type_name("logfmt|json")
      ->capture_default_str();
  app->add_option("--log.level", text->log_level, "Least level that is logged.")
      ->check(Expect("debug, info, warn or error",
                     [](const auto& v) { return ParseLogLevel(v).has_value(); }))
      ->type_name("LEVEL")
      ->capture_default_str();
}

// The option that a key of the configuration file stands for; null if there is none.
CLI::Option* FindOption(CLI::App* app, const ConfigEntry& entry) {
  const bool off =
      entry.flag.starts_with("collector.") && entry.values == std::vector<std::string>{"false"};
  return app->get_option_no_throw((off ? "--no-" : "--") + entry.flag);
}

// Whether flags begin with that and a dot.
bool IsGroup(CLI::App* app, const std::string& name) {
  return std::ranges::any_of(app->get_options(), [&](const CLI::Option* option) {
    return option->get_name().starts_with("--" + name + ".");
  });
}

// Whether the command line says it already, which wins.
bool IsGiven(CLI::App* app, const ConfigEntry& entry) {
  const auto given = [app](const std::string& name) {
    const CLI::Option* option = app->get_option_no_throw(name);
    return option != nullptr && option->count() > 0;
  };
  return given("--" + entry.flag) || given("--no-" + entry.flag);
}

// Sets the option; where something is wrong and what, if it is.
std::optional<std::string> Set(CLI::Option* option, const ConfigEntry& entry) {
  const bool is_flag = option->get_items_expected_max() == 0;
  if (is_flag) {
    if (entry.is_list || (entry.values[0] != "true" && entry.values[0] != "false")) {
      return entry.place + ": --" + entry.flag + ": " +
             (entry.is_list ? "a list" : "\"" + Printable(entry.values[0]) + "\"") +
             " given; expected true or false";
    }
    if (entry.values[0] == "false" && !entry.flag.starts_with("collector.")) return std::nullopt;
  } else if (entry.is_list && option->get_items_expected_max() == 1) {
    return entry.place + ": --" + entry.flag + ": a list given; expected one value";
  }
  for (std::size_t i = 0; i < entry.values.size(); ++i) {
    option->add_result(is_flag ? "true" : entry.values[i]);
    try {
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      return entry.value_places[i] + ": " + error.what();
    }
  }
  return std::nullopt;
}

// Sets what the file says and the command line does not; what is wrong, if something is.
std::optional<std::string> ApplyConfig(CLI::App* app, const std::vector<ConfigEntry>& entries) {
  for (const ConfigEntry& entry : entries) {
    if (std::ranges::find(kActions, entry.flag) != kActions.end()) {
      return entry.key_place + ": \"" + entry.flag +
             "\" says what one run does; expected it on the command line";
    }
    if (entry.is_group && IsGroup(app, entry.flag)) continue;
    CLI::Option* const option = entry.is_group ? nullptr : FindOption(app, entry);
    if (option == nullptr || entry.flag.starts_with("no-")) {
      std::vector<std::string> known;
      for (const CLI::Option* each : app->get_options()) {
        const std::string name = each->get_name().substr(2);
        if (!name.starts_with("no-") && std::ranges::find(kActions, name) == kActions.end()) {
          known.push_back(name);
        }
      }
      const std::string nearest = NearestWord(entry.flag, known);
      return entry.key_place + ": unknown key \"" + Printable(entry.flag) + "\"; expected " +
             (nearest.empty() ? "the name of a flag" : "perhaps \"" + nearest + "\"");
    }
    if (IsGiven(app, entry)) continue;
    if (auto wrong = Set(option, entry)) return wrong;
  }
  return std::nullopt;
}

dt::Result<std::vector<ConfigEntry>> ReadConfig(const std::string& file) {
  const dt::Result<std::string> text = ReadYamlFile(file);
  if (!text) return text.error();
  return ParseConfig(*text, file);
}

// What contradicts itself, whether flags or file say so.
std::optional<std::string> Contradiction(const Options& options) {
  const int actions = int{options.dry_run} + int{options.explain.has_value()} + int{options.once} +
                      int{options.cleanup} + int{options.nfd_write_once} +
                      int{options.config_check} + int{!options.snapshot.empty()};
  if (actions > 1) {
    return "more than one of --dry-run, --explain, --once, --cleanup, --nfd.write-once, "
           "--snapshot and --config.check given; expected one";
  }
  const HostPaths& paths = options.paths;
  if (!paths.snapshot.empty() &&
      paths != HostPaths{.dev = "", .devicetree = "", .snapshot = paths.snapshot}) {
    return "--path.snapshot: stands for all of the hardware; expected no --path.sysfs, "
           "--path.procfs, --path.dev or --path.devicetree beside it";
  }
  if (options.once && !options.kubernetes.labels && options.nfd_feature_file.empty() &&
      options.textfile_directory.empty()) {
    return "--once: nowhere to write; expected --labels.kubernetes, --nfd.feature-file or "
           "--textfile.directory as well";
  }
  if (options.nfd_write_once && options.kubernetes.labels) {
    return "--nfd.write-once: --labels.kubernetes given as well; expected --once with "
           "--nfd.feature-file to write both";
  }
  return std::nullopt;
}

}  // namespace

std::variant<Options, Exit> ParseOptions(int argc, const char* const* argv,
                                         const BuildInfo& build) {
  Options options;
  Text text;
  CLI::App app(
      "Publishes what a machine's hardware says about itself (devicetree, PCI, USB) as Prometheus\n"
      "metrics and as Kubernetes node labels.",
      kProgram);
  DefineFlags(&app, &options, &text);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Exit{0, app.help()};
  } catch (const CLI::ExtrasError&) {
    return UsageError("unknown argument \"" + Printable(app.remaining().front()) + "\"");
  } catch (const CLI::ParseError& error) {
    return UsageError(error.what());
  }
  if (text.version) {
    return Exit{0, "devicetree-exporter, version " + build.version +
                       " (revision: " + build.revision + ")\n  compiler: " + build.compiler + "\n"};
  }
  if (!text.config_file.empty()) {
    const dt::Result<std::vector<ConfigEntry>> entries = ReadConfig(text.config_file);
    if (!entries) return ConfigError(entries.error().message);
    if (const auto wrong = ApplyConfig(&app, *entries)) return ConfigError(*wrong);
  }
  options.labels.count_values = text.label_value == "count";
  options.labels.accelerator_state =
      static_cast<AcceleratorState>(std::ranges::find(kAcceleratorStates, text.accelerator_state) -
                                    std::begin(kAcceleratorStates));
  options.removal_delay = *ParseDuration(text.removal_delay);
  options.refresh_interval = *ParseDuration(text.refresh_interval);
  options.kubernetes.resync_interval = *ParseDuration(text.resync_interval);
  options.kubernetes.start_jitter = *ParseDuration(text.start_jitter);
  options.kubernetes.force_conflicts = text.on_conflict == "force";
  options.log_level = *ParseLogLevel(text.log_level);
  options.log_format = text.log_format == "json" ? LogFormat::kJson : LogFormat::kLogfmt;
  if (!text.renames.empty()) options.labels.vendor_renames.clear();
  for (const std::string& rename : text.renames) {
    const std::size_t equals = rename.find('=');
    options.labels.vendor_renames[rename.substr(0, equals)] = rename.substr(equals + 1);
  }
  if (const auto contradiction = Contradiction(options)) return UsageError(*contradiction);
  return options;
}

}  // namespace exporter
