// Brings a Node's labels to what they should be, with as few requests as do it.
//
// Decides; does not wait, connect or log: requests go through a function, time
// comes in. What it must never do: create a Node, touch a label outside the
// prefix, fight without end with whoever else sets a label, or remove a label
// while it is not known that its hardware is gone.
#ifndef EXPORTER_SINKS_KUBERNETES_RECONCILER_H_
#define EXPORTER_SINKS_KUBERNETES_RECONCILER_H_

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "exporter/label_set.h"
#include "exporter/sink_report.h"
#include "exporter/sinks/kubernetes/api_messages.h"
#include "exporter/sinks/kubernetes/https_client.h"

namespace exporter {

// Has the server answer with metadata alone, also in a watch.
inline constexpr const char* kAcceptMetadata =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

// Why an answer that is not 200 is none, and in what words.
ApplyFailure FailureOf(const HttpResponse& response);
std::string ErrorOf(const HttpResponse& response);

// What a sink that writes labels is told.
struct WantedLabels {
  LabelSet labels;
  // Whether labels that we wrote and that are not in `labels` may go: not before
  // every collector has read well, and a while after the start.
  bool may_remove = true;

  friend bool operator==(const WantedLabels&, const WantedLabels&) = default;
};

// How an attempt ended.
struct Outcome {
  std::optional<ApplyFailure> failure;  // none: the Node holds what it should
  std::string error;                    // in the server's words, or the client's
  std::optional<std::chrono::seconds> retry_after;
  std::vector<std::string> news;  // what an operator should read, each thing once
};

class Reconciler {
 public:
  using Clock = std::chrono::steady_clock;
  using Send = std::function<HttpResponse(const HttpRequest&)>;

  // Every change of a label that was right already is a repair, or takes it from
  // another manager; so many are made per label in that time, then it is left as it is.
  static constexpr std::size_t kMostRepairs = 3;
  static constexpr std::chrono::hours kRepairWindow{1};

  struct Settings {
    std::string node;             // name of our Node
    std::string prefix;           // of every label's key, without the /
    bool force_conflicts = true;  // take a label that another manager holds with another value
    bool adopt = false;           // remove what others left under the prefix

    friend bool operator==(const Settings&, const Settings&) = default;
  };

  explicit Reconciler(Settings settings);

  // Reads the Node, or takes `seen`, which a watch showed, and changes what differs.
  Outcome Reconcile(const WantedLabels& wanted, const Send& send, Clock::time_point now,
                    std::optional<NodeMetadata> seen = std::nullopt);

  // Removes every label under the prefix, whoever set it. A Node that is not
  // there carries none.
  Outcome CleanUp(const Send& send);

  // Patches of the Node's labels that the server took, of any kind.
  std::uint64_t applies() const { return report_.applies; }

  // The part of the report that is decided here: all but failures and last_success.
  SinkReport Report(const WantedLabels& wanted) const;

 private:
  struct Plan {
    LabelMap labels;                             // of the apply
    std::set<std::string, std::less<>> changes;  // keys that the apply sets, takes or drops
    std::set<std::string, std::less<>> repairs;  // of these, those that count against the budget
  };
  enum class Next { kDone, kAgain, kFailed };

  Plan MakePlan(const WantedLabels& wanted, const NodeMetadata& node, Clock::time_point now);
  void PlanWanted(const Label& label, bool may_remove, const NodeMetadata& node,
                  Clock::time_point now, Plan* plan);
  void PlanOwned(const std::string& key, bool may_remove, const NodeMetadata& node,
                 Clock::time_point now, Plan* plan);

  // The Node, exactly or through the server's cache; nullopt and *outcome if it cannot be had.
  std::optional<NodeMetadata> Get(bool exact, const Send& send, Outcome* outcome);
  Next Apply(const Plan& plan, const Send& send, Clock::time_point now, Outcome* outcome);
  Next Adopt(const WantedLabels& wanted, const Plan& plan, const Send& send, Outcome* outcome);
  Next Remove(const std::vector<std::string>& keys, const Send& send, Outcome* outcome);
  // Sends a patch of *node_, which then is what the server made of it.
  Next Patch(const char* content_type, std::string body, bool force, const Send& send,
             Outcome* outcome);
  Next AfterRefusal(const HttpResponse& response, Outcome* outcome);

  bool IsOurs(std::string_view key) const;
  bool IsOlder(const NodeMetadata& node) const;
  bool HasBudget(std::string_view key, Clock::time_point now);
  void Tell(std::string news, Outcome* outcome);

  const Settings settings_;
  SinkReport report_;
  std::optional<NodeMetadata> node_;         // as the server last showed it
  std::string uid_;                          // of the Node that what follows is about
  std::optional<LabelMap> settled_;          // what the last success left there, under our manager
  LabelMap wanted_;                          // of the attempt under way
  LabelMap refused_;                         // labels that the server calls invalid
  std::set<std::string, std::less<>> left_;  // keys that are as others made them, and stay so
  std::map<std::string, std::string> conflicts_;  // keys of the last 409, with who holds them
  std::set<std::string, std::less<>> taken_;      // keys to take by force in this attempt
  std::map<std::string, std::deque<Clock::time_point>, std::less<>> repaired_;  // when, by key
  std::set<std::string, std::less<>> told_;  // news that need no second telling
  bool adopt_pending_;
};

}  // namespace exporter

#endif  // EXPORTER_SINKS_KUBERNETES_RECONCILER_H_
