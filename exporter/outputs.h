// Where the node labels go besides /metrics: the Kubernetes API, and NFD's local
// feature file.
#ifndef EXPORTER_LABEL_OUTPUTS_H_
#define EXPORTER_LABEL_OUTPUTS_H_

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "dt/result.h"
#include "exporter/label_set.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/sinks/kubernetes/label_sink.h"

namespace exporter {

struct LabelTargets {
  std::optional<LabelSinkSettings> kubernetes;
  std::string nfd_feature_file;  // empty: none
};

// The targets that `options` ask for. An error, one line, is one of the configuration.
dt::Result<LabelTargets> FindLabelTargets(const Options& options, const std::string& user_agent);

// For --once and -f. False if a target did not get the labels; the log says why.
bool WriteLabelsOnce(const LabelTargets& targets, const WantedLabels& wanted, const Log& log);

// For --cleanup. False if labels of ours may be left; the log says why.
bool CleanUpLabels(const LabelTargets& targets, const Log& log);

// For the long run. Publish() and Tick() belong to one thread.
class LabelOutputs {
 public:
  using Clock = std::chrono::steady_clock;

  // `log` must live as long as this.
  LabelOutputs(LabelTargets targets, const Log& log);

  // The Node should carry these from now on.
  void Publish(const WantedLabels& wanted, Clock::time_point now);

  // Does what is due: renews the feature file before it expires.
  void Tick(Clock::time_point now);
  std::optional<Clock::time_point> next_due() const { return nfd_due_; }

  // The lines of the exposition that tell how the label sink fares; empty without
  // one. From any thread.
  std::string Metrics() const;

  // The labels stay. False if a thread did not end within `patience`.
  bool Stop(std::chrono::milliseconds patience);

 private:
  void WriteNfdFeatures(Clock::time_point now);

  LabelTargets targets_;
  const Log& log_;
  WantedLabels wanted_;
  LabelSet nfd_held_;  // what the feature file held at the start and may not lose yet
  std::optional<Clock::time_point> nfd_due_;
  std::string nfd_fault_;  // the one that stands
  mutable std::mutex mutex_;
  std::shared_ptr<const std::string> metrics_;
  std::unique_ptr<LabelSink> sink_;  // last: its threads write metrics_
};

}  // namespace exporter

#endif  // EXPORTER_LABEL_OUTPUTS_H_
