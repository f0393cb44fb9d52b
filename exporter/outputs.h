// Where a snapshot goes besides HTTP: the Kubernetes API, NFD's local feature file,
// the directory of node_exporter's textfile collector.
#ifndef EXPORTER_OUTPUTS_H_
#define EXPORTER_OUTPUTS_H_

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "dt/result.h"
#include "exporter/label_set.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/sinks/kubernetes/label_sink.h"

namespace exporter {

// What goes out.
struct OutputSnapshot {
  WantedLabels labels;
  std::string metrics;  // the exposition without its live part
};

struct OutputTargets {
  std::optional<LabelSinkSettings> kubernetes;
  std::string nfd_feature_file;    // empty: none
  std::string textfile_directory;  // empty: none

  friend bool operator==(const OutputTargets&, const OutputTargets&) = default;
};

// The targets that `options` ask for. An error, one line, is one of the configuration.
dt::Result<OutputTargets> FindOutputTargets(const Options& options, const std::string& user_agent);

// For --once and -f. False if a target did not get its part; the log says why.
bool WriteOnce(const OutputTargets& targets, const OutputSnapshot& snapshot, const Log& log);

// For --cleanup. False if something of ours may be left; the log says why.
bool CleanUp(const OutputTargets& targets, const Log& log);

// For the long run. Publish() and Tick() belong to one thread.
class Outputs {
 public:
  using Clock = std::chrono::steady_clock;

  // `log` must live as long as this.
  Outputs(OutputTargets targets, const Log& log);

  const OutputTargets& targets() const { return targets_; }

  // The folders of the files that Publish() writes; each is made if it can be.
  std::vector<std::string> WritableDirectories() const;

  // The newest snapshot.
  void Publish(OutputSnapshot snapshot, Clock::time_point now);

  // Does what is due: a file that could not be written, or is about to expire.
  void Tick(Clock::time_point now);
  std::optional<Clock::time_point> next_due() const;

  // What bears an expiry is due now: the clock that it was reckoned by was set.
  void Renew(Clock::time_point now);

  // The lines of the exposition that tell how files and the label sink fare. From any
  // thread.
  std::string Metrics() const;

  // The labels and files stay. False if a thread did not end within `patience`.
  bool Stop(std::chrono::milliseconds patience);

 private:
  // A file that is to be written again at some time.
  struct File {
    const char* name;  // in the log
    std::string_view word;  // in the metric
    std::optional<Clock::time_point> due;
    std::string fault;  // the one that stands
  };
  void WriteNfdFeatures(Clock::time_point now);
  void WriteTextfile(Clock::time_point now);
  void Note(std::string error, std::optional<Clock::duration> renewal, Clock::time_point now,
            File* file);

  const OutputTargets targets_;
  const Log& log_;
  OutputSnapshot snapshot_;
  LabelSet nfd_held_;  // what the feature file held at the start and may not lose yet
  File nfd_file_{"NFD's feature file", "nfd_feature_file", {}, ""};
  File textfile_{"the textfile", "textfile", {}, ""};
  FileReport files_;
  mutable std::mutex mutex_;  // of what follows
  std::shared_ptr<const std::string> file_metrics_;
  std::shared_ptr<const std::string> sink_metrics_;
  std::unique_ptr<LabelSink> sink_;  // last: its threads write sink_metrics_
};

}  // namespace exporter

#endif  // EXPORTER_OUTPUTS_H_
