// Wiring: flags, one snapshot, its projections, and the sinks that carry them.

#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <variant>

#include "exporter/build_info.h"
#include "exporter/collect.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/process_stats.h"
#include "exporter/projections/dry_run.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"
#include "exporter/sinks/http_server.h"

namespace exporter {
namespace {

constexpr int kDone = 0;
constexpr int kRuntimeFailure = 1;
constexpr int kUsageError = 2;
constexpr std::chrono::milliseconds kShutdownPatience{500};

constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kPlainType = "text/plain; charset=utf-8";
constexpr const char* kHtmlType = "text/html; charset=utf-8";

Pages ToPages(const Options& options, const Inventory& inventory) {
  const LabelReport labels = ToLabels(inventory, options.labels);
  const std::string& metrics = options.telemetry_path;
  Pages pages;
  pages.emplace("/", Page{kHtmlType,
                          PreparedBody("<!DOCTYPE html>\n<html lang=\"en\"><head><title>devicetree-"
                                       "exporter</title></head>\n<body><h1>devicetree-exporter</h1>"
                                       "<p><a href=\"" + metrics + "\">Metrics</a></p></body></html>\n"),
                          nullptr});
  pages.emplace("/-/healthy", Page{kPlainType, PreparedBody("Healthy.\n"), nullptr});
  pages.emplace("/-/ready", Page{kPlainType, PreparedBody("Ready.\n"), nullptr});
  pages.insert_or_assign(
      metrics, Page{kMetricsType, PreparedBody(ToInventoryMetrics(inventory, labels, kBuildInfo)),
                    [] { return ToProcessMetrics(ReadProcessStats()); }});
  return pages;
}

void LogProblems(const Log& log, const Inventory& inventory) {
  for (const CollectorReport& report : inventory.collectors) {
    for (const std::string& problem : report.problems) {
      log.Write(report.success ? LogLevel::kWarn : LogLevel::kError,
                report.success ? "Skipped what could not be read"
                               : "Collector failed; its last good facts stay",
                {{"collector", report.name}, {"problem", problem}});
    }
  }
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

// Serves until a signal ends it; SIGHUP reads the hardware again.
int Serve(const Options& options, const Log& log, Inventory inventory, int signals) {
  std::string error;
  const std::unique_ptr<HttpServer> server =
      HttpServer::Start(options.listen_addresses, ToPages(options, inventory), &error);
  if (server == nullptr) {
    std::cerr << "devicetree-exporter: " << error << "\n";
    return kRuntimeFailure;
  }
  for (const std::string& address : server->addresses()) {
    log.Write(LogLevel::kInfo, "Listening", {{"address", address}});
  }
  signalfd_siginfo signal{};
  while (read(signals, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
    if (signal.ssi_signo != SIGHUP) break;
    inventory = Collect(options.paths, options.disabled_collectors, &inventory);
    LogProblems(log, inventory);
    server->Publish(ToPages(options, inventory));
    log.Write(LogLevel::kInfo, "Read the hardware again");
  }
  log.Write(LogLevel::kInfo, "Stopping");
  // A peer that holds its connection does not hold us.
  if (!server->Stop(kShutdownPatience)) std::_Exit(kDone);
  return kDone;
}

int Run(int argc, char** argv) {
  std::variant<Options, Exit> parsed = ParseOptions(argc, argv, kBuildInfo);
  if (const Exit* exit = std::get_if<Exit>(&parsed)) {
    (exit->code == kDone ? std::cout : std::cerr) << exit->text << std::flush;
    return exit->code;
  }
  const Options options = std::get<Options>(std::move(parsed));
  const Log log(options.log_level);
  const int signals = BlockSignals();

  Inventory inventory = Collect(options.paths, options.disabled_collectors, nullptr);
  if (!options.paths.devicetree.empty() && !inventory.devicetree_known) {
    for (const CollectorReport& report : inventory.collectors) {
      if (report.name != "devicetree") continue;
      std::cerr << "devicetree-exporter: --path.devicetree: " << report.problems.front()
                << "; expected a directory or a .dtb file\n";
      return kUsageError;
    }
  }
  LogProblems(log, inventory);
  if (options.dry_run) {
    std::cout << ToDryRun(inventory, ToLabels(inventory, options.labels).labels) << std::flush;
    return inventory.devicetree_known && std::cout ? kDone : kRuntimeFailure;
  }
  return Serve(options, log, std::move(inventory), signals);
}

}  // namespace
}  // namespace exporter

int main(int argc, char** argv) {
  try {
    return exporter::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "devicetree-exporter: " << error.what() << "\n";
    return exporter::kRuntimeFailure;
  }
}
