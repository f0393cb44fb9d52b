#include "exporter/outputs.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "exporter/kubeconfig.h"
#include "exporter/printable.h"
#include "exporter/projections/metrics.h"
#include "exporter/read_file.h"
#include "exporter/sinks/nfd_feature_file.h"
#include "exporter/sinks/textfile.h"

namespace exporter {
namespace {

constexpr std::chrono::seconds kOncePatience{60};

// NFD drops our labels that long after we are gone; a write that fails twice does no harm.
constexpr std::chrono::minutes kNfdLife{60};
constexpr std::chrono::minutes kNfdRenewal{20};
constexpr std::chrono::seconds kFileRetry{60};

// --kubernetes.node-name, else $NODE_NAME, else the host name, in lower case as the
// kubelet takes it.
std::string NodeName(const Options& options) {
  if (!options.kubernetes.node_name.empty()) return options.kubernetes.node_name;
  if (const char* name = std::getenv("NODE_NAME"); name != nullptr && *name != '\0') return name;
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  std::string name = host.data();
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

void WarnIfInsecure(const OutputTargets& targets, const Log& log) {
  if (!targets.kubernetes || !targets.kubernetes->access.insecure_skip_tls_verify) return;
  log.Write(LogLevel::kWarn,
            "INSECURE: the kubeconfig says insecure-skip-tls-verify; whoever sits between us and "
            "the API server can take our credentials");
}

}  // namespace

dt::Result<OutputTargets> FindOutputTargets(const Options& options, const std::string& user_agent) {
  OutputTargets targets;
  targets.nfd_feature_file = options.nfd_feature_file;
  targets.textfile_directory = options.textfile_directory;
  if (targets.nfd_feature_file.empty() && options.nfd_write_once) {
    targets.nfd_feature_file = kNfdFeatureFile;
  }
  const KubernetesOptions& kubernetes = options.kubernetes;
  // -f writes that file alone; --cleanup alone is about the Node.
  if (options.nfd_write_once) return OutputTargets{{}, targets.nfd_feature_file, ""};
  const bool node_alone = options.cleanup && targets == OutputTargets{};
  if (!kubernetes.labels && !node_alone) return targets;

  dt::Result<ApiAccess> access = FindApiAccess(kubernetes.kubeconfig, kubernetes.context);
  if (!access) return access.error();
  LabelSinkSettings settings;
  settings.access = std::move(access).value();
  settings.node = {NodeName(options), options.labels.prefix, kubernetes.force_conflicts,
                   kubernetes.adopt};
  if (!IsLabelPrefix(settings.node.node)) {
    return dt::Error{dt::ErrorCode::kMalformed,
                     "\"" + Printable(settings.node.node) +
                         "\" cannot be a Node's name; expected --kubernetes.node-name or "
                         "$NODE_NAME to give it"};
  }
  settings.user_agent = user_agent;
  settings.resync_interval = kubernetes.resync_interval;
  settings.start_jitter = kubernetes.start_jitter;
  settings.watch = kubernetes.watch;
  targets.kubernetes = std::move(settings);
  return targets;
}

bool WriteOnce(const OutputTargets& targets, const OutputSnapshot& snapshot, const Log& log) {
  WarnIfInsecure(targets, log);
  bool done = true;
  const auto check = [&](bool written, const char* message, const std::string& error) {
    if (!written) log.Write(LogLevel::kError, message, {{"error", error}});
    done = done && written;
  };
  std::string error;
  if (!targets.nfd_feature_file.empty()) {
    const std::string features = ToNfdFeatures(snapshot.labels.labels, std::nullopt);
    check(WriteNfdFeatures(targets.nfd_feature_file, features, &error),
          "NFD's feature file is not written", error);
  }
  if (!targets.textfile_directory.empty()) {
    check(WriteTextfile(targets.textfile_directory, snapshot.metrics, &error),
          "The textfile is not written", error);
  }
  if (targets.kubernetes) {
    error = ApplyOnce(*targets.kubernetes, snapshot.labels, log, kOncePatience);
    check(error.empty(), "The Node's labels are not applied", error);
  }
  return done;
}

bool CleanUp(const OutputTargets& targets, const Log& log) {
  WarnIfInsecure(targets, log);
  bool done = true;
  const auto remove = [&](const std::string& file) {
    if (unlink(file.c_str()) == 0 || errno == ENOENT) return;
    log.Write(LogLevel::kError, "A file cannot be removed",
              {{"file", file}, {"error", std::strerror(errno)}});
    done = false;
  };
  if (!targets.nfd_feature_file.empty()) remove(targets.nfd_feature_file);
  if (!targets.textfile_directory.empty()) remove(TextfilePath(targets.textfile_directory));
  if (targets.kubernetes) {
    const std::string error = RemoveLabels(*targets.kubernetes, log, kOncePatience);
    if (!error.empty()) {
      log.Write(LogLevel::kError, "The Node's labels are not removed", {{"error", error}});
    }
    done = done && error.empty();
  }
  return done;
}

Outputs::Outputs(OutputTargets targets, const Log& log)
    : targets_(std::move(targets)),
      log_(log),
      file_metrics_(std::make_shared<std::string>()),
      sink_metrics_(std::make_shared<std::string>()) {
  if (!targets_.nfd_feature_file.empty()) {
    std::string features;
    const std::string why =
        ReadFile(targets_.nfd_feature_file, kMaxNfdFeatureBytes, &features);
    if (!why.empty() && errno != ENOENT) {
      log_.Write(LogLevel::kWarn,
                 "NFD's feature file cannot be read; labels of an earlier run that it held may go",
                 {{"file", targets_.nfd_feature_file}, {"error", why}});
    }
    nfd_held_ = ParseNfdFeatures(features, std::chrono::system_clock::now());
  }
  WarnIfInsecure(targets_, log_);
  if (targets_.kubernetes && !targets_.nfd_feature_file.empty()) {
    log_.Write(LogLevel::kWarn,
               "Both --labels.kubernetes and --nfd.feature-file are on: the labels belong to both, "
               "and go only when both drop them");
  }
}

std::vector<std::string> Outputs::WritableDirectories() const {
  std::vector<std::string> directories;
  if (!targets_.textfile_directory.empty()) directories.push_back(targets_.textfile_directory);
  if (!targets_.nfd_feature_file.empty()) {
    std::error_code failure;  // found again, and told, when the file is written
    const auto folder = std::filesystem::path(targets_.nfd_feature_file).parent_path();
    std::filesystem::create_directories(folder, failure);
    directories.push_back(folder.empty() ? "." : folder.string());
  }
  return directories;
}

void Outputs::Publish(OutputSnapshot snapshot, Clock::time_point now) {
  const bool labels_changed = snapshot.labels != snapshot_.labels;
  snapshot_ = std::move(snapshot);
  if (sink_ != nullptr) {
    sink_->Publish(snapshot_.labels);
  } else if (targets_.kubernetes) {
    sink_ = LabelSink::Start(
        *targets_.kubernetes, snapshot_.labels, log_, [this](const SinkReport& report) {
          auto text = std::make_shared<const std::string>(ToLabelSinkMetrics(report));
          const std::lock_guard lock(mutex_);
          sink_metrics_ = std::move(text);
        });
  }
  if (!targets_.nfd_feature_file.empty() && (labels_changed || !nfd_file_.due)) {
    WriteNfdFeatures(now);
  }
  if (!targets_.textfile_directory.empty()) WriteTextfile(now);
}

void Outputs::Tick(Clock::time_point now) {
  if (nfd_file_.due && *nfd_file_.due <= now) WriteNfdFeatures(now);
  if (textfile_.due && *textfile_.due <= now) WriteTextfile(now);
}

std::optional<Outputs::Clock::time_point> Outputs::next_due() const {
  if (nfd_file_.due && textfile_.due) return std::min(*nfd_file_.due, *textfile_.due);
  return nfd_file_.due ? nfd_file_.due : textfile_.due;
}

void Outputs::Renew(Clock::time_point now) {
  if (nfd_file_.due) nfd_file_.due = now;
}

std::string Outputs::Metrics() const {
  std::shared_ptr<const std::string> files;
  std::shared_ptr<const std::string> sink;
  {
    const std::lock_guard lock(mutex_);
    files = file_metrics_;
    sink = sink_metrics_;
  }
  return *files + *sink;
}

bool Outputs::Stop(std::chrono::milliseconds patience) {
  return sink_ == nullptr || sink_->Stop(patience);
}

void Outputs::WriteNfdFeatures(Clock::time_point now) {
  if (snapshot_.labels.may_remove) nfd_held_.clear();
  LabelSet labels = snapshot_.labels.labels;
  for (const Label& held : nfd_held_) {
    if (std::ranges::find(labels, held.key, &Label::key) == labels.end()) labels.push_back(held);
  }
  const auto expiry = std::chrono::system_clock::now() + kNfdLife;
  std::string error;
  exporter::WriteNfdFeatures(targets_.nfd_feature_file, ToNfdFeatures(labels, expiry), &error);
  Note(std::move(error), kNfdRenewal, now, &nfd_file_);
}

void Outputs::WriteTextfile(Clock::time_point now) {
  std::string error;
  exporter::WriteTextfile(targets_.textfile_directory, snapshot_.metrics, &error);
  Note(std::move(error), std::nullopt, now, &textfile_);
}

// An error is said once, as long as it stands, and the file tried again.
void Outputs::Note(std::string error, std::optional<Clock::duration> renewal, Clock::time_point now,
                   File* file) {
  files_[file->word] = error.empty();
  auto text = std::make_shared<const std::string>(ToFileMetrics(files_));
  {
    const std::lock_guard lock(mutex_);
    file_metrics_ = std::move(text);
  }
  file->due.reset();
  if (renewal) file->due = now + *renewal;
  if (!error.empty()) file->due = now + kFileRetry;
  if (!error.empty() && error != file->fault) {
    log_.Write(LogLevel::kError, "A file is not written; trying again",
               {{"what", file->name}, {"error", error}});
  }
  if (error.empty() && !file->fault.empty()) {
    log_.Write(LogLevel::kInfo, "A file is written again", {{"what", file->name}});
  }
  file->fault = std::move(error);
}

}  // namespace exporter
