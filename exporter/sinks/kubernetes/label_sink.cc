#include "exporter/sinks/kubernetes/label_sink.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "exporter/sinks/kubernetes/https_client.h"

namespace exporter {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds kPatience{15};  // for an answer
constexpr Seconds kFirstBackoff{0.8};
constexpr Seconds kMostBackoff{30};
constexpr Seconds kLeastBackoff{0.1};
constexpr Seconds kAdministratorPause{300};  // until somebody has granted a right
constexpr int kMostHopefulRefusals = 5;
constexpr Seconds kMostRetryAfter{3600};
constexpr double kJitter = 0.2;
constexpr std::size_t kShares = 1000;  // of the start's jitter
constexpr Seconds kMemoryPause{1};     // where there is none left
constexpr Seconds kWatchPause{1};      // between one watch and the next, at least
constexpr Seconds kWatchLife{120};     // after which a watch is taken to work: as client-go does
constexpr int kLeastWatchSeconds = 300;
constexpr int kMostWatchSeconds = 600;
constexpr std::chrono::seconds kWatchGrace{30};

Clock::duration ToTicks(Seconds seconds) {
  return std::chrono::duration_cast<Clock::duration>(seconds);
}

// What no trying again mends: a missing right, a policy, a request that is wrong.
bool NeedsAdministrator(ApplyFailure failure) {
  return failure == ApplyFailure::kForbidden || failure == ApplyFailure::kInvalid;
}

// How long to wait after a failure: doubling, with full jitter, so that a fleet
// does not come back at once when its server does.
class Backoff {
 public:
  // well: what is refused at once is taken for a right that nobody means to grant.
  explicit Backoff(bool well = false) : well_(well) {}

  Seconds After(ApplyFailure failure, std::optional<std::chrono::seconds> retry_after) {
    const bool was_well = std::exchange(well_, false);
    refusals_ = NeedsAdministrator(failure) ? refusals_ + 1 : 0;
    if (retry_after && retry_after->count() > 0) {
      return std::min<Seconds>(*retry_after, kMostRetryAfter) * (1 + kJitter * Fraction());
    }
    // A server that has just started, or a role that is just being made, refuses what
    // it will grant in a moment.
    if (was_well && refusals_ > 0) refusals_ = kMostHopefulRefusals + 1;
    if (refusals_ > kMostHopefulRefusals) return Spread(kAdministratorPause);
    const Seconds most = std::exchange(next_, std::min(next_ * 2, kMostBackoff));
    return std::max(kLeastBackoff, most * Fraction());
  }
  void Reset() {
    next_ = kFirstBackoff;
    well_ = true;
    refusals_ = 0;
  }

  // Refusals that come next may be those of a server that has just started.
  void ExpectRefusals() { well_ = false; }

  // The interval, give or take kJitter of it.
  Seconds Spread(Seconds interval) { return interval * (1 - kJitter + 2 * kJitter * Fraction()); }

  double Fraction() { return std::uniform_real_distribution<double>(0, 1)(random_); }

 private:
  std::mt19937 random_{std::random_device{}()};
  Seconds next_ = kFirstBackoff;
  bool well_;         // the last attempt succeeded
  int refusals_ = 0;  // in a row
};

// Says a fault once for each reason, as long as it stands.
class FaultLog {
 public:
  FaultLog(const Log& log, const char* fault, const char* mended)
      : log_(log), fault_(fault), mended_(mended) {}

  void Failed(ApplyFailure failure, const std::string& error, Seconds pause) {
    if (!standing_.insert(failure).second) return;
    log_.Write(LogLevel::kWarn, fault_,
               {{"reason", kApplyFailures[static_cast<std::size_t>(failure)]},
                {"error", error},
                {"retry_seconds", std::to_string(std::lround(pause.count()))}});
  }
  // Whether a fault stood.
  bool Succeeded() {
    if (standing_.empty()) return false;
    log_.Write(LogLevel::kInfo, mended_);
    standing_.clear();
    return true;
  }

 private:
  const Log& log_;
  const char* const fault_;
  const char* const mended_;
  std::set<ApplyFailure> standing_;
};

// One attempt after another, with what comes of each: pauses, counts, log lines.
class Labeller {
 public:
  struct Attempt {
    std::optional<ApplyFailure> failure;
    std::string error;
    Seconds pause;  // until the next one
  };

  Labeller(const LabelSinkSettings& settings, const Log& log)
      : settings_(settings),
        log_(log),
        client_(settings.access, settings.user_agent),
        reconciler_(settings.node) {}

  void ExpectRefusals() { backoff_.ExpectRefusals(); }

  Attempt Apply(const WantedLabels& wanted, std::optional<NodeMetadata> seen) {
    const std::uint64_t applies = reconciler_.applies();
    Attempt attempt =
        Finish(reconciler_.Reconcile(wanted, Sender(), Clock::now(), std::move(seen)));
    if (reconciler_.applies() > applies) {
      log_.Write(LogLevel::kInfo, "Applied the Node's labels",
                 {{"node", settings_.node.node}, {"labels", std::to_string(wanted.labels.size())}});
    }
    return attempt;
  }

  Attempt CleanUp() { return Finish(reconciler_.CleanUp(Sender())); }

  SinkReport Report(const WantedLabels& wanted) const {
    SinkReport report = reconciler_.Report(wanted);
    for (std::size_t i = 0; i < failures_.size(); ++i) report.failures[i] += failures_[i];
    report.last_success = last_success_;
    return report;
  }

  // For an attempt that failed and is not the last.
  void LogRetry(const Attempt& attempt) {
    faults_.Failed(*attempt.failure, attempt.error, attempt.pause);
  }

  void Cancel() { client_.Cancel(); }

 private:
  // Sends with the token as it stands in its file, and again if that was rotated meanwhile.
  Reconciler::Send Sender() {
    return [this](const HttpRequest& request) {
      HttpResponse response = client_.Send(request, kPatience);
      if (response.status != 401) return response;
      client_.Close();
      return client_.Send(request, kPatience);
    };
  }

  Attempt Finish(const Outcome& outcome) {
    client_.Close();
    for (const std::string& news : outcome.news) log_.Write(LogLevel::kWarn, news);
    if (!outcome.failure) {
      backoff_.Reset();
      faults_.Succeeded();
      last_success_ =
          std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
              .count();
      return {std::nullopt, "", backoff_.Spread(settings_.resync_interval)};
    }
    ++failures_[static_cast<std::size_t>(*outcome.failure)];
    return {outcome.failure, outcome.error, backoff_.After(*outcome.failure, outcome.retry_after)};
  }

  const LabelSinkSettings& settings_;
  const Log& log_;
  HttpsClient client_;
  Reconciler reconciler_;
  Backoff backoff_;
  FaultLog faults_{log_, "The Node's labels cannot be set; trying again",
                   "The Node's labels can be set again"};
  decltype(SinkReport::failures) failures_{};
  std::optional<double> last_success_;
};

class ThreadedSink final : public LabelSink {
 public:
  ThreadedSink(LabelSinkSettings settings, WantedLabels wanted, const Log& log,
               std::function<void(const SinkReport&)> on_report)
      : settings_(std::move(settings)),
        log_(log),
        on_report_(std::move(on_report)),
        wanted_(std::move(wanted)) {
    threads_.emplace_back([this] { End(&ThreadedSink::Apply); });
    if (settings_.watch) threads_.emplace_back([this] { End(&ThreadedSink::Watch); });
  }

  ~ThreadedSink() override {
    for (std::thread& thread : threads_) thread.join();
  }

  void Publish(WantedLabels wanted) override {
    const std::lock_guard lock(mutex_);
    if (wanted == wanted_) return;
    wanted_ = std::move(wanted);
    changed_ = true;
    wake_.notify_all();
  }

  bool Stop(std::chrono::milliseconds patience) override {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    labeller_.Cancel();
    watch_client_.Cancel();
    wake_.notify_all();
    return wake_.wait_for(lock, patience, [this] { return ended_ == threads_.size(); });
  }

 private:
  void End(void (ThreadedSink::*run)()) {
    while (!IsStopping()) {
      try {
        (this->*run)();
      } catch (const std::bad_alloc&) {
        std::unique_lock lock(mutex_);
        changed_ = true;  // what it was about to do is to be done
        wake_.wait_for(lock, kMemoryPause, [this] { return stopping_; });
      }
    }
    const std::lock_guard lock(mutex_);
    ++ended_;
    wake_.notify_all();
  }

  void Apply() {
    Clock::time_point due = start_;         // the next attempt
    Clock::time_point not_before = start_;  // whatever happens until then
    bool refused = false;                   // the last attempt, as an administrator has to mend it
    for (;;) {
      WantedLabels wanted;
      std::optional<NodeMetadata> seen;
      {
        std::unique_lock lock(mutex_);
        wake_.wait_until(lock, due, [this] { return stopping_ || changed_ || seen_ || is_back_; });
        if (stopping_) return;
        // A server that has just started refuses for a moment what it grants.
        if (std::exchange(is_back_, false)) {
          labeller_.ExpectRefusals();
          if (refused) due = not_before = Clock::now();
        }
        if (changed_) due = std::min(due, std::max(Clock::now(), not_before));
        changed_ = false;
        wanted = wanted_;
        seen = std::exchange(seen_, {});
      }
      const Clock::time_point now = Clock::now();
      if (now >= due || (seen && now >= not_before)) {
        const Labeller::Attempt attempt = labeller_.Apply(wanted, std::move(seen));
        if (attempt.failure && !IsStopping()) labeller_.LogRetry(attempt);
        due = Clock::now() + ToTicks(attempt.pause);
        refused = attempt.failure && NeedsAdministrator(*attempt.failure);
        // A Node that is not there yet costs nothing to look at when it comes.
        const bool wait = attempt.failure && *attempt.failure != ApplyFailure::kNotFound;
        not_before = wait ? due : now;
      }
      on_report_(labeller_.Report(wanted));
    }
  }

  bool IsStopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  // Has the server tell of changes. Where it cannot be had, Apply() looks regularly.
  void Watch() {
    Backoff backoff(/*well=*/true);  // --kubernetes.watch alone grants no right to
    FaultLog faults(log_, "The Node cannot be watched; looking at it regularly",
                    "The Node is watched again");
    Clock::time_point due = start_;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        if (wake_.wait_until(lock, due, [this] { return stopping_; })) return;
      }
      const Clock::time_point begin = Clock::now();
      const Watched watched = WatchOnce(backoff.Fraction(), &faults);
      if (IsStopping()) return;
      // One that is cut again and again, though it began well, costs the server as much.
      if (!watched.failure && Clock::now() - begin >= kWatchLife) backoff.Reset();
      const ApplyFailure failure = watched.failure.value_or(ApplyFailure::kNetwork);
      const Seconds pause =
          std::max(backoff.Spread(kWatchPause), backoff.After(failure, watched.retry_after));
      if (watched.failure) faults.Failed(failure, watched.error, pause);
      due = Clock::now() + ToTicks(pause);
    }
  }

  // How a watch ended; without a failure the server only wanted another one.
  struct Watched {
    std::optional<ApplyFailure> failure;
    std::string error;
    std::optional<std::chrono::seconds> retry_after;
  };

  Watched WatchOnce(double fraction, FaultLog* faults) {
    const int seconds =
        kLeastWatchSeconds + static_cast<int>(fraction * (kMostWatchSeconds - kLeastWatchSeconds));
    HttpRequest request;
    request.method = "GET";
    // From any version on: the first event is the Node as it is.
    request.target = "/api/v1/nodes?watch=true&allowWatchBookmarks=true&resourceVersion=0" +
                     std::string("&fieldSelector=metadata.name%3D") + settings_.node.node +
                     "&timeoutSeconds=" + std::to_string(seconds);
    request.accept = kAcceptMetadata;
    std::string error = "the stream ended before its first event";
    bool is_first = true;
    const HttpResponse response =
        watch_client_.Stream(request, kPatience, std::chrono::seconds(seconds) + kWatchGrace,
                             [&](std::string_view line) {
                               error = TakeEvent(line);
                               if (error.empty() && std::exchange(is_first, false)) {
                                 faults->Succeeded();
                                 WatchIsBack();
                               }
                               return error.empty();
                             });
    // What it has told before it broke off was good.
    const bool broke_off = response.status == 0 && response.failure == ApplyFailure::kNetwork;
    if (error.empty() && broke_off) return {};
    if (response.status != 200) {
      return {FailureOf(response), ErrorOf(response), response.retry_after};
    }
    if (!error.empty()) return {ApplyFailure::kServerError, error, {}};
    return {};
  }

  void WatchIsBack() {
    const std::lock_guard lock(mutex_);
    is_back_ = true;
    wake_.notify_all();
  }

  // Why the stream cannot go on; empty if it can.
  std::string TakeEvent(std::string_view line) {
    const std::optional<WatchEvent> event = ParseWatchEvent(line);
    if (!event) return "a line of the stream is no event";
    if (event->type == WatchEvent::Type::kError) return "event ERROR: " + event->message;
    const std::lock_guard lock(mutex_);
    if (event->node) seen_ = event->node;
    if (event->type == WatchEvent::Type::kDeleted) changed_ = true;
    wake_.notify_all();
    return "";
  }

  const LabelSinkSettings settings_;
  const Log& log_;
  const std::function<void(const SinkReport&)> on_report_;
  // The same for a node at each start, so that the pods of a DaemonSet stay apart.
  const Clock::time_point start_ =
      Clock::now() +
      ToTicks(
          settings_.start_jitter *
          (static_cast<double>(std::hash<std::string>{}(settings_.node.node) % kShares) / kShares));
  Labeller labeller_{settings_, log_};
  HttpsClient watch_client_{settings_.access, settings_.user_agent};
  std::mutex mutex_;
  std::condition_variable wake_;
  WantedLabels wanted_;
  bool changed_ = true;               // wanted_, or that there is a Node; Apply() shall look
  std::optional<NodeMetadata> seen_;  // what the watch showed last
  bool is_back_ = false;              // a watch, and with it perhaps the server
  bool stopping_ = false;
  std::size_t ended_ = 0;             // of the threads
  std::vector<std::thread> threads_;  // last: they use all of the above
};

// Until it is done, or there is no use in going on.
std::string Persist(Labeller* labeller, std::chrono::seconds patience,
                    const std::function<Labeller::Attempt()>& attempt_once) {
  const Clock::time_point end = Clock::now() + patience;
  for (;;) {
    const Labeller::Attempt attempt = attempt_once();
    if (!attempt.failure) return "";
    const bool hopeless =
        NeedsAdministrator(*attempt.failure) || *attempt.failure == ApplyFailure::kCredentials ||
        *attempt.failure == ApplyFailure::kTls || *attempt.failure == ApplyFailure::kUnauthorized;
    if (hopeless || Clock::now() + ToTicks(attempt.pause) >= end) return attempt.error;
    labeller->LogRetry(attempt);
    std::this_thread::sleep_for(attempt.pause);
  }
}

}  // namespace

std::unique_ptr<LabelSink> LabelSink::Start(LabelSinkSettings settings, WantedLabels wanted,
                                            const Log& log,
                                            std::function<void(const SinkReport&)> on_report) {
  return std::make_unique<ThreadedSink>(std::move(settings), std::move(wanted), log,
                                        std::move(on_report));
}

std::string ApplyOnce(const LabelSinkSettings& settings, const WantedLabels& wanted, const Log& log,
                      std::chrono::seconds patience) {
  Labeller labeller(settings, log);
  return Persist(&labeller, patience, [&] { return labeller.Apply(wanted, std::nullopt); });
}

std::string RemoveLabels(const LabelSinkSettings& settings, const Log& log,
                         std::chrono::seconds patience) {
  Labeller labeller(settings, log);
  return Persist(&labeller, patience, [&] { return labeller.CleanUp(); });
}

}  // namespace exporter
