// Keeps a Node's labels as they should be, on threads of its own: nothing that an
// API server does or fails to do reaches whoever calls this.
#ifndef EXPORTER_SINKS_KUBERNETES_LABEL_SINK_H_
#define EXPORTER_SINKS_KUBERNETES_LABEL_SINK_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "exporter/log.h"
#include "exporter/sink_report.h"
#include "exporter/sinks/kubernetes/api_access.h"
#include "exporter/sinks/kubernetes/reconciler.h"

namespace exporter {

struct LabelSinkSettings {
  ApiAccess access;
  Reconciler::Settings node;
  std::string user_agent;
  std::chrono::duration<double> resync_interval{300};  // between looks at the Node; 20 % of jitter
  std::chrono::duration<double> start_jitter{30};      // the first look comes within this time
  bool watch = false;  // have the server tell of changes: needs the rights list and watch

  friend bool operator==(const LabelSinkSettings&, const LabelSinkSettings&) = default;
};

class LabelSink {
 public:
  // `on_report` is called from a thread of the sink, whenever the report may have
  // changed. It and `log` must live as long as the sink.
  static std::unique_ptr<LabelSink> Start(LabelSinkSettings settings, WantedLabels wanted,
                                          const Log& log,
                                          std::function<void(const SinkReport&)> on_report);
  // REQUIRES: Stop() gave true.
  virtual ~LabelSink() = default;

  // The Node shall carry these from now on. Returns at once.
  virtual void Publish(WantedLabels wanted) = 0;

  // Ends the threads; the labels stay. False if one of them did not end within
  // `patience`: the process should exit without destroying this.
  virtual bool Stop(std::chrono::milliseconds patience) = 0;
};

// For --once and --cleanup: each tries until it is done, an administrator has to
// act, or `patience` has passed. Empty if it is done, else what stood in the way.
std::string ApplyOnce(const LabelSinkSettings& settings, const WantedLabels& wanted, const Log& log,
                      std::chrono::seconds patience);
std::string RemoveLabels(const LabelSinkSettings& settings, const Log& log,
                         std::chrono::seconds patience);

}  // namespace exporter

#endif  // EXPORTER_SINKS_KUBERNETES_LABEL_SINK_H_
