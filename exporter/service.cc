#include "exporter/service.h"

#include <malloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "exporter/build_info.h"
#include "exporter/clock_watch.h"
#include "exporter/collect.h"
#include "exporter/confinement.h"
#include "exporter/departures.h"
#include "exporter/process_stats.h"
#include "exporter/projections/inventory_json.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/landing_page.h"
#include "exporter/projections/metrics.h"
#include "exporter/signals.h"
#include "exporter/sinks/http_server.h"
#include "exporter/uevents.h"

namespace exporter {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDone = 0;
constexpr int kRuntimeFailure = 1;
constexpr std::chrono::milliseconds kShutdownPatience{500};

// Events come in bursts (a card is a dozen of them): the hardware is read once
// they have been quiet for kQuiet, and after kMostDelay in any case.
constexpr std::chrono::milliseconds kQuiet{200};
constexpr std::chrono::milliseconds kMostDelay{1000};

constexpr std::chrono::seconds kFirstRetry{1};

constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kJsonType = "application/json";
constexpr const char* kPlainType = "text/plain; charset=utf-8";
constexpr const char* kHtmlType = "text/html; charset=utf-8";

// Buses on which a devicetree node, a card or a stick can be an accelerator; the
// classes of the catalogue come to these.
constexpr std::array kHardwareSubsystems = {"amba",     "host1x", "i2c", "pci",
                                            "platform", "rpmsg",  "spi", "usb"};

Clock::duration ToTicks(std::chrono::duration<double> seconds) {
  return std::chrono::duration_cast<Clock::duration>(seconds);
}

std::set<std::string, std::less<>> WatchedSubsystems(const Catalogue& catalogue) {
  const std::vector<std::string> classes = InterfaceClasses(catalogue);
  std::set<std::string, std::less<>> watched(classes.begin(), classes.end());
  watched.insert(kHardwareSubsystems.begin(), kHardwareSubsystems.end());
  return watched;
}

class Service {
 public:
  Service(Configuration configuration, const std::function<dt::Result<Configuration>()>& load,
          Log& log, Inventory inventory, dt::Result<UeventSocket> uevents)
      : options_(std::move(configuration.options)),
        catalogue_(std::move(configuration.catalogue)),
        load_(load),
        log_(log),
        inventory_(std::move(inventory)),
        uevents_(std::move(uevents)),
        hold_(Clock::now(), ToTicks(options_.removal_delay)),
        outputs_(std::make_shared<Outputs>(std::move(configuration.targets), log)),
        web_(std::move(configuration.web)),
        lifecycle_enabled_(options_.enable_lifecycle) {}

  int Run(int signals) {
    const std::string unconfined = Confine(outputs_->WritableDirectories());
    if (!unconfined.empty()) {
      log_.Write(LogLevel::kDebug, "Not confined", {{"reason", unconfined}});
    }
    std::string error;
    const LabelReport labels = ToLabels(inventory_, options_.labels);
    const std::string metrics = ToMetrics(labels);
    const Action reload = [this](const std::function<void(HttpReply)>& reply) {
      if (!lifecycle_enabled_) return reply({403, "Lifecycle API is not enabled.\n"});
      const std::lock_guard lock(reload_mutex_);
      reload_replies_.push_back(reply);
      eventfd_write(reload_asked_, 1);
    };
    server_ = HttpServer::Start(options_.listen_addresses, ToPages(labels, metrics),
                                {{"/-/reload", reload}}, Security(), &error);
    if (server_ == nullptr) {
      std::cerr << "devicetree-exporter: " << error << "\n";
      return kRuntimeFailure;
    }
    for (const std::string& address : server_->addresses()) {
      log_.Write(LogLevel::kInfo, "Listening", {{"address", address}});
    }
    if (!uevents_) {
      const long seconds = std::lround(options_.refresh_interval.count());
      log_.Write(LogLevel::kWarn,
                 std::string("The kernel's hardware events cannot be had; reading it ") +
                     (options_.refresh_interval.count() > 0 ? "regularly" : "at a reload alone"),
                 {{"reason", uevents_.error().message}, {"seconds", std::to_string(seconds)}});
    }
    hold_.Saw(inventory_);
    PublishOutputs(labels, metrics);
    ScheduleRefresh();
    malloc_trim(0);  // what reading the catalogue took goes back to the system
    Loop(signals);
    log_.Write(LogLevel::kInfo, "Stopping");
    // Neither a peer that holds its connection nor an API server that is silent holds us.
    const bool stopped = outputs_->Stop(kShutdownPatience / 2);
    server_->Stop(kShutdownPatience / 2);
    if (!stopped) std::_Exit(kDone);
    return kDone;
  }

 private:
  // The snapshot as it is now, to all who get it.
  void Publish() {
    const LabelReport labels = ToLabels(inventory_, options_.labels, departures_.accelerators());
    const std::string metrics = ToMetrics(labels);
    server_->Publish(ToPages(labels, metrics));
    PublishOutputs(labels, metrics);
  }

  void PublishOutputs(const LabelReport& labels, const std::string& metrics) {
    const Clock::time_point now = Clock::now();
    outputs_->Publish({{labels.labels, hold_.MayRemove(now)}, metrics}, now);
  }

  std::string ToMetrics(const LabelReport& labels) const {
    std::optional<std::chrono::duration<double>> interval;
    if (!uevents_ && options_.refresh_interval.count() > 0) interval = options_.refresh_interval;
    return ToInventoryMetrics(inventory_, labels, kBuildInfo) + ToConfigMetrics(config_report_) +
           ToRefreshMetrics(interval);
  }

  Pages ToPages(const LabelReport& labels, const std::string& metrics) {
    PageLinks links;
    links.metrics = options_.telemetry_path;
    Pages pages;
    pages.emplace(
        "/", Page{kHtmlType, PreparedBody(ToLandingPage(inventory_, labels, kBuildInfo, links)),
                  nullptr,
                  {{"Content-Security-Policy", std::string(LandingPageCsp())}}});
    pages.emplace(
        links.inventory,
        Page{kJsonType, PreparedBody(ToInventoryJson(inventory_, labels, kBuildInfo)), nullptr});
    pages.emplace(links.healthy, Page{kPlainType, PreparedBody("Healthy.\n"), nullptr});
    pages.emplace(links.ready, Page{kPlainType, PreparedBody("Ready.\n"), nullptr});
    // A scrape waits for nothing; the first look at a page may.
    PreparedBody body(metrics, PreparedBody::Compress::kNow);
    pages.insert_or_assign(links.metrics,
                           Page{kMetricsType, std::move(body), [outputs = outputs_, web = web_] {
                                  return ToProcessMetrics(ReadProcessStats()) + outputs->Metrics() +
                                         (web ? ToWebConfigMetrics(web->last_reload_successful()) : "");
                                }});
    return pages;
  }

  SecuritySource Security() const {
    if (web_ == nullptr) return nullptr;
    return [web = web_, &log = log_] { return web->Current(log); };
  }

  // Those who asked for it over HTTP hear how it went, as Prometheus says it.
  void ReloadAsAsked() {
    eventfd_t count = 0;
    eventfd_read(reload_asked_, &count);
    std::vector<std::function<void(HttpReply)>> replies;
    {
      const std::lock_guard lock(reload_mutex_);
      replies.swap(reload_replies_);
    }
    const std::string error = Reload();
    for (const auto& reply : replies) {
      reply(error.empty() ? HttpReply{200, ""}
                          : HttpReply{500, "failed to reload config: " + error + "\n"});
    }
  }

  // All of it, or nothing. Empty, or what is wrong.
  std::string Reload() {
    dt::Result<Configuration> loaded = load_();
    config_report_.last_reload_successful = loaded.has_value();
    if (!loaded) {
      log_.Write(LogLevel::kError, "The configuration is wrong; the old one stays",
                 {{"error", loaded.error().message}});
      Publish();
      return loaded.error().message;
    }
    config_report_.last_success = std::chrono::system_clock::now();
    Configuration fresh = std::move(loaded).value();
    // What may want memory comes first: what is there is replaced as a whole.
    auto subsystems = WatchedSubsystems(fresh.catalogue);
    std::shared_ptr<Outputs> outputs = outputs_;
    if (fresh.targets != outputs_->targets()) {
      outputs = std::make_shared<Outputs>(std::move(fresh.targets), log_);
    }
    if (fresh.options.listen_addresses != options_.listen_addresses) {
      log_.Write(LogLevel::kWarn, "--web.listen-address has changed: it needs a restart");
    }
    options_ = std::move(fresh.options);
    catalogue_ = std::move(fresh.catalogue);
    subsystems_ = std::move(subsystems);
    log_.Configure(options_.log_level, options_.log_format);
    lifecycle_enabled_ = options_.enable_lifecycle;
    web_ = std::move(fresh.web);
    server_->Secure(Security());
    if (outputs != outputs_) {
      outputs_->Stop(kShutdownPatience);
      outputs_ = std::move(outputs);
    }
    ReadHardware();
    log_.Write(LogLevel::kInfo, "Read the configuration and the hardware again");
    return "";
  }

  // What could not be read is tried again, since no event tells that it now can:
  // after a second, then after twice that and so on up to the refresh interval.
  void ScheduleRefresh() {
    const Clock::duration interval = ToTicks(options_.refresh_interval);
    const bool failed = std::ranges::any_of(inventory_.collectors, [](const auto& report) {
      return !report.success || report.skipped_devices > 0;
    });
    read_at_.reset();
    if (interval.count() > 0 && (failed || !uevents_)) {
      read_at_ = Clock::now() + (failed ? std::min<Clock::duration>(retry_, interval) : interval);
    }
    retry_ = failed ? std::min<Clock::duration>(retry_ * 2, interval) : kFirstRetry;
  }

  void ReadHardware() {
    std::optional<EndsAtOnce> while_reading(std::in_place);
    Inventory fresh =
        Collect(options_.paths, catalogue_, options_.disabled_collectors, &inventory_);
    while_reading.reset();
    const Inventory before = std::exchange(inventory_, std::move(fresh));
    departures_.Update(before, inventory_, options_.labels, Clock::now(),
                       ToTicks(options_.removal_delay));
    LogProblems(log_, inventory_, &before);
    hold_.Saw(inventory_);
    Publish();
    burst_began_.reset();
    ScheduleRefresh();
    is_short_of_memory_ = false;
  }

  void TakeEvents() {
    if (!uevents_->Drain(subsystems_)) return;
    const Clock::time_point now = Clock::now();
    if (!burst_began_) burst_began_ = now;
    read_at_ = std::min<Clock::time_point>(now + kQuiet, *burst_began_ + kMostDelay);
  }

  void TakeClock() {
    if (!clock_.WasSet()) return;
    log_.Write(LogLevel::kInfo,
               "The clock was set, or the machine has slept; reading the hardware again");
    outputs_->Renew(Clock::now());
    ReadHardware();
  }

  // Milliseconds until the next thing that is due; -1 if there is none.
  int Timeout() const {
    std::optional<Clock::time_point> due = read_at_;
    for (const auto& other :
         {departures_.next_expiry(), hold_.next_change(), outputs_->next_due()}) {
      if (other && (!due || *other < *due)) due = other;
    }
    if (!due) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1'000'000'000));
  }

  // What is served stays as it is; the hardware is read again once there may be memory.
  void WaitForMemory(int signals) {
    read_at_ = Clock::now() + kFirstRetry;
    if (!std::exchange(is_short_of_memory_, true)) {
      try {
        log_.Write(LogLevel::kError, "Out of memory; the last snapshot stays, trying again");
      } catch (const std::bad_alloc&) {
        // Nor is there any for a line of the log.
      }
    }
    pollfd ended{signals, POLLIN, 0};
    poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(kFirstRetry).count()));
  }

  void Loop(int signals) {
    for (;;) {
      try {
        if (!Turn(signals)) return;
      } catch (const std::bad_alloc&) {
        WaitForMemory(signals);
      }
    }
  }

  // Does what is due, or waits for it. False once we are told to end.
  bool Turn(int signals) {
    std::array<pollfd, 4> waited = {
        pollfd{signals, POLLIN, 0}, pollfd{uevents_ ? uevents_->fd() : -1, POLLIN, 0},
        pollfd{reload_asked_, POLLIN, 0}, pollfd{clock_.fd(), POLLIN, 0}};
    if (poll(waited.data(), waited.size(), Timeout()) < 0) return true;  // EINTR
    if (waited[0].revents != 0) {
      signalfd_siginfo signal{};
      if (read(signals, &signal, sizeof signal) != static_cast<ssize_t>(sizeof signal)) {
        return false;
      }
      if (signal.ssi_signo != SIGHUP) return false;
      Reload();
    }
    if (waited[1].revents != 0) TakeEvents();
    if (waited[2].revents != 0) ReloadAsAsked();
    if (waited[3].revents != 0) TakeClock();
    const Clock::time_point now = Clock::now();
    if (read_at_ && *read_at_ <= now) ReadHardware();
    const auto is_due = [&](const auto& time) { return time && *time <= now; };
    if (is_due(departures_.next_expiry()) || is_due(hold_.next_change())) {
      departures_.Expire(now);
      hold_.Expire(now);
      Publish();
    }
    outputs_->Tick(now);
    return true;
  }

  Options options_;
  Catalogue catalogue_;
  const std::function<dt::Result<Configuration>()>& load_;
  Log& log_;
  std::set<std::string, std::less<>> subsystems_ = WatchedSubsystems(catalogue_);
  Inventory inventory_;
  const dt::Result<UeventSocket> uevents_;
  ClockWatch clock_;
  ConfigReport config_report_{true, std::chrono::system_clock::now()};
  Departures departures_;
  RemovalHold hold_;
  std::shared_ptr<Outputs> outputs_;  // shared with the page that asks it for live lines
  std::shared_ptr<WebConfigFile> web_;  // null without one; the server's thread uses it
  std::atomic<bool> lifecycle_enabled_;
  const int reload_asked_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::mutex reload_mutex_;
  std::vector<std::function<void(HttpReply)>> reload_replies_;
  std::unique_ptr<HttpServer> server_;
  std::optional<Clock::time_point> read_at_;      // when the hardware is to be read next
  std::optional<Clock::time_point> burst_began_;  // the first event not yet acted on
  Clock::duration retry_ = kFirstRetry;           // to wait after the next read that fails
  bool is_short_of_memory_ = false;
};

}  // namespace

int Serve(Configuration configuration, const std::function<dt::Result<Configuration>()>& load,
          Log& log, Inventory inventory, dt::Result<UeventSocket> uevents, int signals) {
  return Service(std::move(configuration), load, log, std::move(inventory), std::move(uevents))
      .Run(signals);
}

void LogProblems(const Log& log, const Inventory& inventory, const Inventory* before) {
  std::set<std::string> standing;
  if (before != nullptr) {
    for (const CollectorReport& report : before->collectors) {
      standing.insert(report.problems.begin(), report.problems.end());
    }
  }
  for (const CollectorReport& report : inventory.collectors) {
    for (const std::string& problem : report.problems) {
      if (standing.contains(problem)) continue;
      log.Write(report.success ? LogLevel::kWarn : LogLevel::kError,
                report.success ? "A device cannot be read; its last good facts stay"
                               : "A collector failed; its last good facts stay",
                {{"collector", report.name}, {"problem", problem}});
    }
  }
}

}  // namespace exporter
