// Many label sinks in one process, for test_label_fleet.py: one for each of the
// Nodes NAME-0000 to NAME-(COUNT-1), as if each ran on its own machine.
//
//   label_fleet KUBECONFIG NAME COUNT RESYNC_SECONDS JITTER_SECONDS poll|watch
//
// Each wants the labels that stand on standard input, one KEY=VALUE a line. At the
// end of its life (SIGTERM) it prints the sum of what the sinks report, as JSON.

#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "exporter/kubeconfig.h"
#include "exporter/sinks/kubernetes/label_sink.h"

namespace {

using exporter::SinkReport;

int Run(char** argv) {
  const auto access = exporter::ReadKubeconfig(argv[1], "");
  if (!access) {
    std::cerr << access.error().message << "\n";
    return 2;
  }
  exporter::WantedLabels wanted;
  for (std::string line; std::getline(std::cin, line);) {
    const std::size_t equals = line.find('=');
    wanted.labels.push_back({line.substr(0, equals), line.substr(equals + 1)});
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const exporter::Log log(exporter::LogLevel::kWarn);
  const auto count = static_cast<std::size_t>(std::stoul(argv[3]));
  std::mutex mutex;
  std::vector<SinkReport> reports(count);
  std::vector<std::unique_ptr<exporter::LabelSink>> sinks;
  for (std::size_t i = 0; i < count; ++i) {
    char number[16];
    std::snprintf(number, sizeof number, "-%04zu", i);
    exporter::LabelSinkSettings settings;
    settings.access = *access;
    settings.node = {argv[2] + std::string(number), "beta.devicetree.org", true, false};
    settings.user_agent = "devicetree-exporter/fleet";
    settings.resync_interval = std::chrono::duration<double>(std::stod(argv[4]));
    settings.start_jitter = std::chrono::duration<double>(std::stod(argv[5]));
    settings.watch = argv[6] == std::string("watch");
    sinks.push_back(exporter::LabelSink::Start(settings, wanted, log, [&, i](const auto& report) {
      const std::lock_guard lock(mutex);
      reports[i] = report;
    }));
  }
  int signal = 0;
  sigwait(&signals, &signal);

  std::uint64_t applies = 0;
  std::uint64_t failures = 0;
  std::uint64_t throttled = 0;
  std::size_t settled = 0;
  {
    const std::lock_guard lock(mutex);
    for (const SinkReport& report : reports) {
      applies += report.applies;
      for (const std::uint64_t count_of_one : report.failures) failures += count_of_one;
      throttled += report.failures[static_cast<std::size_t>(exporter::ApplyFailure::kThrottled)];
      settled += report.last_success.has_value() ? 1 : 0;
    }
  }
  std::printf("{\"applies\": %llu, \"failures\": %llu, \"throttled\": %llu, \"settled\": %zu}\n",
              static_cast<unsigned long long>(applies), static_cast<unsigned long long>(failures),
              static_cast<unsigned long long>(throttled), settled);
  std::fflush(stdout);
  std::_Exit(0);  // a thousand threads need no waiting for
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "usage: label_fleet KUBECONFIG NAME COUNT RESYNC_SECONDS JITTER_SECONDS "
                 "poll|watch <LABELS\n";
    return 2;
  }
  return Run(argv);
}
