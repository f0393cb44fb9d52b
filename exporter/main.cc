// Wiring: flags, the catalogue, one snapshot, and what is done with it.

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "exporter/build_info.h"
#include "exporter/catalogue.h"
#include "exporter/collect.h"
#include "exporter/departures.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/outputs.h"
#include "exporter/printable.h"
#include "exporter/projections/dry_run.h"
#include "exporter/projections/explain.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"
#include "exporter/service.h"
#include "exporter/signals.h"
#include "exporter/sinks/atomic_file.h"
#include "exporter/snapshot.h"
#include "exporter/web_config_file.h"
#include "exporter/yaml_document.h"

namespace exporter {
namespace {

constexpr int kDone = 0;
constexpr int kRuntimeFailure = 1;
constexpr int kUsageError = 2;

constexpr const char* kUnwritable = "standard output: cannot be written";

int Fail(int code, const std::string& message) {
  std::cerr << "devicetree-exporter: " << Printable(message) << "\n";
  return code;
}

// A file or socket that took the number of a standard stream would be written to as that.
void OpenStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) static_cast<void>(open("/dev/null", O_RDWR));
  }
}

// The events of this machine say nothing of the one that a snapshot is from.
dt::Result<UeventSocket> OpenUevents(const HostPaths& paths) {
  if (paths.snapshot.empty()) return UeventSocket::Open();
  return dt::Error{dt::ErrorCode::kNotFound, "the hardware is that of --path.snapshot"};
}

// The built-in catalogue, extended by the file that --catalogue.file names.
dt::Result<Catalogue> LoadCatalogue(const std::string& file) {
  if (file.empty()) return BuiltInCatalogue();
  const dt::Result<std::string> text = ReadYamlFile(file);
  if (!text) return text.error();
  dt::Result<Catalogue> extra = ParseCatalogue(*text, file);
  if (!extra) return extra;
  return Extend(BuiltInCatalogue(), std::move(extra).value());
}

// What one run prints: labels or explanations.
int Print(const Options& options, const Inventory& inventory) {
  LogProblems(Log(options.log_level), inventory, nullptr);
  const LabelReport labels = ToLabels(inventory, options.labels);
  if (options.explain) {
    const auto explanation = ToExplanation(inventory, labels, *options.explain);
    if (!explanation) {
      return Fail(kRuntimeFailure, "nothing here is about \"" + *options.explain + "\"");
    }
    std::cout << *explanation << std::flush;
  } else {
    std::cout << ToDryRun(inventory, labels.labels) << std::flush;
  }
  for (const CollectorReport& report : inventory.collectors) {
    if (!report.success) return kRuntimeFailure;
  }
  return std::cout ? kDone : Fail(kRuntimeFailure, kUnwritable);
}

// What --snapshot does with what was read.
int WriteSnapshot(const Options& options, const Inventory& inventory, const HostRecord& record) {
  utsname kernel{};
  if (options.paths.snapshot.empty()) uname(&kernel);
  const std::string text = ToSnapshot(
      record, {"devicetree-exporter " + kBuildInfo.version, kernel.release, inventory.read_at});
  const std::string& file = options.snapshot;
  std::string error;
  if (file == "-") {
    std::cout << text << std::flush;
    if (!std::cout) return Fail(kRuntimeFailure, kUnwritable);
  } else if (!WriteAtomically(file, text, 0644, &error)) {
    return Fail(kRuntimeFailure, "--snapshot: " + error);
  }
  (file == "-" ? std::cerr : std::cout)
      << file << ": " << ToSummary(inventory, record)
      << "; it is text without serial numbers, to be looked at before it is sent\n"
      << std::flush;
  return kDone;
}

// Writes the snapshot where it goes or removes it there, and is done.
int RunOnce(const Configuration& configuration, const Inventory& inventory, const Log& log) {
  const Options& options = configuration.options;
  if (options.cleanup) return CleanUp(configuration.targets, log) ? kDone : kRuntimeFailure;
  RemovalHold hold({}, {});
  hold.Saw(inventory);
  const LabelReport labels = ToLabels(inventory, options.labels);
  const OutputSnapshot snapshot{{labels.labels, hold.MayRemove({})},
                                ToInventoryMetrics(inventory, labels, kBuildInfo)};
  const bool done = WriteOnce(configuration.targets, snapshot, log);
  return done && snapshot.labels.may_remove ? kDone : kRuntimeFailure;
}

// What the command line asks for, as far as no file of it is wrong.
std::variant<Configuration, Exit> LoadConfiguration(int argc, char** argv) {
  const auto wrong = [](const std::string& message) {
    return Exit{kUsageError, "devicetree-exporter: " + Printable(message) + "\n"};
  };
  std::variant<Options, Exit> parsed = ParseOptions(argc, argv, kBuildInfo);
  if (Exit* exit = std::get_if<Exit>(&parsed)) return std::move(*exit);
  Options options = std::get<Options>(std::move(parsed));
  dt::Result<Catalogue> catalogue = LoadCatalogue(options.catalogue_file);
  if (!catalogue) return wrong("--catalogue.file: " + catalogue.error().message);
  if (!options.paths.snapshot.empty()) {
    const dt::Result<HostTree> snapshot = ReadSnapshot(options.paths.snapshot);
    if (!snapshot) return wrong("--path.snapshot: " + snapshot.error().message);
  }
  std::shared_ptr<WebConfigFile> web;
  if (!options.web_config_file.empty()) {
    dt::Result<std::shared_ptr<WebConfigFile>> read = WebConfigFile::Load(options.web_config_file);
    if (!read) return wrong("--web.config.file: " + read.error().message);
    web = std::move(read).value();
  }
  OutputTargets targets;
  const bool writes =
      !options.dry_run && !options.explain && !options.config_check && options.snapshot.empty();
  if (writes) {
    dt::Result<OutputTargets> found =
        FindOutputTargets(options, "devicetree-exporter/" + kBuildInfo.version);
    if (!found) return wrong(found.error().message);
    targets = std::move(found).value();
  }
  return Configuration{std::move(options), std::move(catalogue).value(), std::move(targets),
                       std::move(web)};
}

int Run(int argc, char** argv) {
  OpenStandardStreams();
  const int signals = BlockSignals();
  std::variant<Configuration, Exit> loaded = LoadConfiguration(argc, argv);
  if (const Exit* exit = std::get_if<Exit>(&loaded)) {
    (exit->code == kDone ? std::cout : std::cerr) << exit->text << std::flush;
    return exit->code;
  }
  Configuration configuration = std::get<Configuration>(std::move(loaded));
  const Options& options = configuration.options;
  if (options.config_check) {
    std::cout << "The configuration is good.\n";
    return kDone;
  }
  const bool runs_once = options.once || options.cleanup || options.nfd_write_once;
  const bool serves =
      !runs_once && !options.dry_run && !options.explain && options.snapshot.empty();
  if (!serves) UnblockSignals();
  dt::Result<UeventSocket> uevents = OpenUevents(options.paths);
  HostRecord record;
  std::optional<EndsAtOnce> while_reading;
  if (serves) while_reading.emplace();
  Inventory inventory = Collect(options.paths, configuration.catalogue, options.disabled_collectors,
                                nullptr, options.snapshot.empty() ? nullptr : &record);
  while_reading.reset();
  if (!options.paths.devicetree.empty() && !inventory.devicetree_known) {
    for (const CollectorReport& report : inventory.collectors) {
      if (report.name != "devicetree") continue;
      return Fail(kUsageError, "--path.devicetree: " + report.problems.front() +
                                   "; expected a directory or a .dtb file");
    }
  }
  if (!options.snapshot.empty()) return WriteSnapshot(options, inventory, record);
  if (options.dry_run || options.explain) return Print(options, inventory);
  Log log(options.log_level, options.log_format);
  LogProblems(log, inventory, nullptr);
  if (runs_once) return RunOnce(configuration, inventory, log);
  const auto load = [argc, argv]() -> dt::Result<Configuration> {
    std::variant<Configuration, Exit> again = LoadConfiguration(argc, argv);
    if (const Exit* exit = std::get_if<Exit>(&again)) {
      return dt::Error{dt::ErrorCode::kMalformed, exit->text.substr(0, exit->text.find('\n'))};
    }
    return std::get<Configuration>(std::move(again));
  };
  return Serve(std::move(configuration), load, log, std::move(inventory), std::move(uevents),
               signals);
}

}  // namespace
}  // namespace exporter

int main(int argc, char** argv) {
  try {
    return exporter::Run(argc, argv);
  } catch (const std::bad_alloc&) {
    return exporter::Fail(exporter::kRuntimeFailure, "out of memory");
  } catch (const std::exception& error) {
    return exporter::Fail(exporter::kRuntimeFailure, error.what());
  }
}
