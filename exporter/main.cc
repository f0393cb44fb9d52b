// Wiring: flags, the catalogue, one snapshot, and what is done with it.

#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "exporter/build_info.h"
#include "exporter/catalogue.h"
#include "exporter/collect.h"
#include "exporter/departures.h"
#include "exporter/label_outputs.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/projections/dry_run.h"
#include "exporter/projections/explain.h"
#include "exporter/projections/labels.h"
#include "exporter/service.h"

namespace exporter {
namespace {

constexpr int kDone = 0;
constexpr int kRuntimeFailure = 1;
constexpr int kUsageError = 2;

int Fail(int code, const std::string& message) {
  std::cerr << "devicetree-exporter: " << message << "\n";
  return code;
}

// Blocks the signals that end or reload us, in every thread, and gives a
// descriptor that reads them.
int BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

// The built-in catalogue, extended by the file that --catalogue.file names.
dt::Result<Catalogue> LoadCatalogue(const std::string& file) {
  dt::Result<Catalogue> built_in = ParseCatalogue(BuiltInCatalogue(), "accelerators.yaml");
  if (!built_in || file.empty()) return built_in;
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return dt::Error{dt::ErrorCode::kIo, file + ": cannot be read; expected YAML"};
  dt::Result<Catalogue> extra = ParseCatalogue(text, file);
  if (!extra) return extra;
  return Extend(std::move(built_in).value(), std::move(extra).value());
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
  return std::cout ? kDone : kRuntimeFailure;
}

// Writes or removes labels, and is done. A signal ends it.
int WriteOnce(const Options& options, const LabelTargets& targets, const Inventory& inventory,
              const Log& log) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (options.cleanup) return CleanUpLabels(targets, log) ? kDone : kRuntimeFailure;
  RemovalHold hold({}, {});
  hold.Saw(inventory);
  const WantedLabels wanted{ToLabels(inventory, options.labels).labels, hold.MayRemove({})};
  return WriteLabelsOnce(targets, wanted, log) && wanted.may_remove ? kDone : kRuntimeFailure;
}

int Run(int argc, char** argv) {
  std::variant<Options, Exit> parsed = ParseOptions(argc, argv, kBuildInfo);
  if (const Exit* exit = std::get_if<Exit>(&parsed)) {
    (exit->code == kDone ? std::cout : std::cerr) << exit->text << std::flush;
    return exit->code;
  }
  const Options options = std::get<Options>(std::move(parsed));
  const int signals = BlockSignals();

  const dt::Result<Catalogue> catalogue = LoadCatalogue(options.catalogue_file);
  if (!catalogue) return Fail(kUsageError, "--catalogue.file: " + catalogue.error().message);
  dt::Result<UeventSocket> uevents = UeventSocket::Open();
  Inventory inventory = Collect(options.paths, *catalogue, options.disabled_collectors, nullptr);
  if (!options.paths.devicetree.empty() && !inventory.devicetree_known) {
    for (const CollectorReport& report : inventory.collectors) {
      if (report.name != "devicetree") continue;
      return Fail(kUsageError, "--path.devicetree: " + report.problems.front() +
                                   "; expected a directory or a .dtb file");
    }
  }
  if (options.dry_run || options.explain) return Print(options, inventory);
  dt::Result<LabelTargets> targets =
      FindLabelTargets(options, "devicetree-exporter/" + kBuildInfo.version);
  if (!targets) return Fail(kUsageError, targets.error().message);
  const Log log(options.log_level);
  LogProblems(log, inventory, nullptr);
  if (options.once || options.cleanup || options.nfd_write_once) {
    return WriteOnce(options, *targets, inventory, log);
  }
  return Serve(options, *catalogue, log, std::move(inventory), std::move(uevents),
               std::move(targets).value(), signals);
}

}  // namespace
}  // namespace exporter

int main(int argc, char** argv) {
  try {
    return exporter::Run(argc, argv);
  } catch (const std::exception& error) {
    return exporter::Fail(exporter::kRuntimeFailure, error.what());
  }
}
