#include "exporter/sinks/kubernetes/reconciler.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace exporter {
namespace {

constexpr int kMostAttempts = 5;
constexpr std::size_t kMostManagers = 20;  // of which conflicts are counted apart

constexpr const char* kApplyType = "application/apply-patch+yaml";
constexpr const char* kMergeType = "application/merge-patch+json";

void SetFailure(const HttpResponse& response, Outcome* outcome) {
  outcome->failure = FailureOf(response);
  outcome->error = ErrorOf(response);
  outcome->retry_after = response.retry_after;
}

std::optional<std::string> Find(const LabelMap& labels, std::string_view key) {
  const auto found = labels.find(key);
  if (found == labels.end()) return std::nullopt;
  return found->second;
}

// Whether both are counts, and `a` is the larger one: fewer devices are a removal too.
bool IsMore(std::string_view a, std::string_view b) {
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  return is_number(a) && is_number(b) && std::tuple(a.size(), a) > std::tuple(b.size(), b);
}

}  // namespace

ApplyFailure FailureOf(const HttpResponse& response) {
  switch (response.status) {
    case 0: return response.failure;
    case 401: return ApplyFailure::kUnauthorized;
    case 403: return ApplyFailure::kForbidden;
    case 404: return ApplyFailure::kNotFound;
    case 409: return ApplyFailure::kConflict;
    case 429: return ApplyFailure::kThrottled;
    default:
      return response.status >= 400 && response.status < 500 ? ApplyFailure::kInvalid
                                                             : ApplyFailure::kServerError;
  }
}

std::string ErrorOf(const HttpResponse& response) {
  if (response.status == 0) return response.error;
  if (response.status == 200) return "answer 200, which is not the Node's metadata";
  return "answer " + std::to_string(response.status) + ": " + ParseStatus(response.body).message;
}

Reconciler::Reconciler(Settings settings)
    : settings_(std::move(settings)), adopt_pending_(settings_.adopt) {}

Outcome Reconciler::Reconcile(const WantedLabels& wanted, const Send& send, Clock::time_point now,
                              std::optional<NodeMetadata> seen) {
  Outcome outcome;
  wanted_.clear();
  for (const Label& label : wanted.labels) wanted_[label.key] = label.value;
  taken_.clear();
  // A look through the server's cache, or at what a watch showed, tells that nothing is
  // to be done. It may be old, and what is not in an apply is dropped: so each apply
  // goes out from an exact look.
  bool exact = !settled_;
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    std::optional<NodeMetadata> node =
        seen && !exact ? std::exchange(seen, {}) : Get(exact, send, &outcome);
    if (!node) return outcome;
    if (!exact && (IsOlder(*node) || node->uid != uid_)) {
      exact = true;
      continue;
    }
    if (node->uid != uid_) {
      uid_ = node->uid;
      settled_.reset();
      left_.clear();
      adopt_pending_ = settings_.adopt;
    }
    node_ = std::move(*node);
    const Plan plan = MakePlan(wanted, *node_, now);
    if (!plan.changes.empty() && !std::exchange(exact, true)) continue;
    Next next = plan.changes.empty() ? Next::kDone : Apply(plan, send, now, &outcome);
    if (next == Next::kDone) {
      settled_ = plan.labels;
      std::erase_if(left_, [&](const std::string& key) {
        return plan.labels.contains(key) && Find(plan.labels, key) == Find(wanted_, key);
      });
      next = Adopt(wanted, plan, send, &outcome);
    }
    if (next != Next::kAgain) return outcome;
    exact = true;
  }
  outcome.failure = ApplyFailure::kConflict;
  outcome.error = "the Node changed during each of " + std::to_string(kMostAttempts) + " attempts";
  return outcome;
}

Outcome Reconciler::CleanUp(const Send& send) {
  Outcome outcome;
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    node_ = Get(/*exact=*/true, send, &outcome);
    if (!node_) {
      if (outcome.failure == ApplyFailure::kNotFound) return {};
      return outcome;
    }
    std::vector<std::string> keys;
    for (const auto& [key, value] : node_->labels) {
      if (IsOurs(key)) keys.push_back(key);
    }
    if (keys.empty()) return outcome;
    if (Remove(keys, send, &outcome) == Next::kFailed) return outcome;
  }
  outcome.failure = ApplyFailure::kConflict;
  outcome.error = "labels under " + settings_.prefix + "/ come back as they are removed";
  return outcome;
}

SinkReport Reconciler::Report(const WantedLabels& wanted) const {
  SinkReport report = report_;
  for (const Label& label : wanted.labels) {
    const bool applied = node_ && Find(node_->labels, label.key) == label.value;
    report.labels.push_back({label.key, applied});
    if (left_.contains(label.key)) ++report.yielded;
  }
  return report;
}

Reconciler::Plan Reconciler::MakePlan(const WantedLabels& wanted, const NodeMetadata& node,
                                      Clock::time_point now) {
  std::erase_if(
      left_, [&](const auto& key) { return !wanted_.contains(key) && !node.owned.contains(key); });
  Plan plan;
  for (const Label& label : wanted.labels) PlanWanted(label, wanted.may_remove, node, now, &plan);
  for (const std::string& key : node.owned) {
    if (!wanted_.contains(key)) PlanOwned(key, wanted.may_remove, node, now, &plan);
  }
  return plan;
}

void Reconciler::PlanWanted(const Label& label, bool may_remove, const NodeMetadata& node,
                            Clock::time_point now, Plan* plan) {
  const std::optional<std::string> value = Find(node.labels, label.key);
  const bool owned = value && node.owned.contains(label.key);
  if (Find(refused_, label.key) == label.value) {
    if (owned && !may_remove) plan->labels[label.key] = *value;
    return;
  }
  if (owned && (*value == label.value || (!may_remove && IsMore(*value, label.value)))) {
    plan->labels[label.key] = *value;
    return;
  }
  const bool left = left_.contains(label.key);
  const bool was_right = settled_ && Find(*settled_, label.key) == label.value;
  const bool others = value && *value != label.value && (!owned || node.shared.contains(label.key));
  if ((left || was_right) &&
      (!HasBudget(label.key, now) || (left && others && !settings_.force_conflicts))) {
    left_.insert(label.key);
    if (owned) plan->labels[label.key] = *value;
    return;
  }
  plan->labels[label.key] = label.value;
  plan->changes.insert(label.key);
  const bool mended_by_others = left && value == label.value;
  if ((left || was_right) && !mended_by_others) plan->repairs.insert(label.key);
}

void Reconciler::PlanOwned(const std::string& key, bool may_remove, const NodeMetadata& node,
                           Clock::time_point now, Plan* plan) {
  const std::optional<std::string> value = Find(node.labels, key);
  if (!value) return;
  // Another of our kind set what we had settled to be without.
  const bool repair = left_.contains(key) || (settled_ && !settled_->contains(key));
  const bool spent = repair && !HasBudget(key, now);
  if (spent) left_.insert(key);
  if (spent || !may_remove || !IsOurs(key)) {
    plan->labels[key] = *value;
    return;
  }
  plan->changes.insert(key);
  if (repair) plan->repairs.insert(key);
}

std::optional<NodeMetadata> Reconciler::Get(bool exact, const Send& send, Outcome* outcome) {
  HttpRequest request;
  request.method = "GET";
  request.target = "/api/v1/nodes/" + settings_.node + (exact ? "" : "?resourceVersion=0");
  request.accept = kAcceptMetadata;
  const HttpResponse response = send(request);
  std::optional<NodeMetadata> node;
  if (response.status == 200) node = ParseNode(response.body);
  if (node && node->name == settings_.node) return node;
  if (response.status == 404) node_.reset();
  SetFailure(response, outcome);
  return std::nullopt;
}

Reconciler::Next Reconciler::Apply(const Plan& plan, const Send& send, Clock::time_point now,
                                   Outcome* outcome) {
  const NodeMetadata before = *node_;
  conflicts_.clear();
  const Next next = Patch(kApplyType, ApplyBody(settings_.node, before.uid, plan.labels),
                          /*force=*/!taken_.empty(), send, outcome);
  for (const auto& [key, manager] : conflicts_) {
    const bool take = settings_.force_conflicts && HasBudget(key, now);
    (take ? taken_ : left_).insert(key);
    Tell("label " + key + ": \"" + manager + "\" holds it with another value; " +
             (take ? "taking it" : "leaving it"),
         outcome);
  }
  if (next != Next::kDone) return next;
  ++report_.applies;
  if (node_->resource_version == before.resource_version) return next;  // nothing had to change
  for (const std::string& key : plan.changes) {
    const bool repair = plan.repairs.contains(key);
    if (!repair && !taken_.contains(key)) continue;
    repaired_[key].push_back(now);
    if (repair) ++report_.repairs;
    if (!HasBudget(key, now)) {
      Tell("label " + key + " was set right " + std::to_string(kMostRepairs) +
               " times within an hour; leaving it as others make it for a while",
           outcome);
    }
  }
  return next;
}

Reconciler::Next Reconciler::Adopt(const WantedLabels& wanted, const Plan& plan, const Send& send,
                                   Outcome* outcome) {
  if (!adopt_pending_ || !wanted.may_remove) return Next::kDone;
  std::vector<std::string> keys;
  for (const auto& [key, value] : node_->labels) {
    if (IsOurs(key) && !wanted_.contains(key) && !plan.labels.contains(key)) keys.push_back(key);
  }
  std::set<std::string, std::less<>> others = left_;
  for (const auto& [key, value] : refused_) others.insert(key);
  if (auto body = AdoptionBody(*node_, settings_.prefix, keys, others)) {
    const Next next = Patch(kMergeType, std::move(*body), /*force=*/false, send, outcome);
    if (next != Next::kDone) return next;
    Tell("adopted what others had written under " + settings_.prefix + "/, and removed " +
             std::to_string(keys.size()) + " of their labels",
         outcome);
  }
  adopt_pending_ = false;
  return Next::kDone;
}

Reconciler::Next Reconciler::Remove(const std::vector<std::string>& keys, const Send& send,
                                    Outcome* outcome) {
  return Patch(kMergeType, RemovalBody(node_->uid, keys), /*force=*/false, send, outcome);
}

Reconciler::Next Reconciler::Patch(const char* content_type, std::string body, bool force,
                                   const Send& send, Outcome* outcome) {
  HttpRequest request;
  request.method = "PATCH";
  request.target = "/api/v1/nodes/" + settings_.node + "?fieldManager=" + kFieldManager +
                   "&fieldValidation=Strict";
  // A merge patch knows no force, and the server refuses the parameter.
  if (content_type == kApplyType) request.target += force ? "&force=true" : "&force=false";
  request.accept = kAcceptMetadata;
  request.content_type = content_type;
  request.body = std::move(body);
  const HttpResponse response = send(request);
  if (response.status != 200) return AfterRefusal(response, outcome);
  std::optional<NodeMetadata> node = ParseNode(response.body);
  if (!node || node->name != settings_.node) {
    SetFailure(response, outcome);
    return Next::kFailed;
  }
  node_ = std::move(*node);
  return Next::kDone;
}

Reconciler::Next Reconciler::AfterRefusal(const HttpResponse& response, Outcome* outcome) {
  const ApiStatus status = ParseStatus(response.body);
  if (response.status == 409 || response.status == 422) {
    if (status.about_uid) return Next::kAgain;
    for (const FieldConflict& conflict : status.conflicts) {
      conflicts_[conflict.key] = conflict.manager;
      const bool known = report_.conflicts.contains(conflict.manager);
      const bool room = known || report_.conflicts.size() < kMostManagers;
      ++report_.conflicts[room ? conflict.manager : "other"];
    }
    if (!conflicts_.empty()) return Next::kAgain;
    bool refused = false;
    for (const std::string& cause : status.label_causes) {
      for (const auto& [key, value] : wanted_) {
        if (cause.find('"' + key + '"') == std::string::npos &&
            cause.find('"' + value + '"') == std::string::npos) {
          continue;
        }
        refused = true;
        if (std::exchange(refused_[key], value) == value) continue;  // it is said several times
        ++report_.failures[static_cast<std::size_t>(ApplyFailure::kInvalid)];
        Tell("label " + key + " is refused: " + cause + "; leaving it out", outcome);
      }
    }
    if (refused) return Next::kAgain;
  }
  if (response.status == 404) node_.reset();
  SetFailure(response, outcome);
  return Next::kFailed;
}

bool Reconciler::IsOurs(std::string_view key) const {
  return key.starts_with(settings_.prefix) && key.substr(settings_.prefix.size()).starts_with('/');
}

// Resource versions of one kind of object compare as numbers:
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
bool Reconciler::IsOlder(const NodeMetadata& node) const {
  if (!node_ || node_->uid != node.uid) return false;
  const auto rank = [](const std::string& version) { return std::tuple(version.size(), version); };
  return rank(node.resource_version) < rank(node_->resource_version);
}

bool Reconciler::HasBudget(std::string_view key, Clock::time_point now) {
  const auto found = repaired_.find(key);
  if (found == repaired_.end()) return true;
  std::deque<Clock::time_point>& times = found->second;
  while (!times.empty() && now - times.front() >= kRepairWindow) times.pop_front();
  return times.size() < kMostRepairs;
}

void Reconciler::Tell(std::string news, Outcome* outcome) {
  if (told_.insert(news).second) outcome->news.push_back(std::move(news));
}

}  // namespace exporter
