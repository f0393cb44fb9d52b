#include "exporter/label_outputs.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "exporter/kubeconfig.h"
#include "exporter/printable.h"
#include "exporter/projections/metrics.h"
#include "exporter/sinks/nfd_feature_file.h"

namespace exporter {
namespace {

constexpr std::chrono::seconds kOncePatience{60};

// NFD drops our labels that long after we are gone; a write that fails twice does no harm.
constexpr std::chrono::minutes kNfdLife{60};
constexpr std::chrono::minutes kNfdRenewal{20};
constexpr std::chrono::seconds kNfdRetry{60};

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

std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void WarnIfInsecure(const LabelTargets& targets, const Log& log) {
  if (!targets.kubernetes || !targets.kubernetes->access.insecure_skip_tls_verify) return;
  log.Write(LogLevel::kWarn,
            "INSECURE: the kubeconfig says insecure-skip-tls-verify; whoever sits between us and "
            "the API server can take our credentials");
}

}  // namespace

dt::Result<LabelTargets> FindLabelTargets(const Options& options, const std::string& user_agent) {
  LabelTargets targets;
  targets.nfd_feature_file = options.nfd_feature_file;
  if (targets.nfd_feature_file.empty() && options.nfd_write_once) {
    targets.nfd_feature_file = kNfdFeatureFile;
  }
  const KubernetesOptions& kubernetes = options.kubernetes;
  const bool clean_all = options.cleanup && targets.nfd_feature_file.empty();
  if (!kubernetes.labels && !clean_all) return targets;

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

bool WriteLabelsOnce(const LabelTargets& targets, const WantedLabels& wanted, const Log& log) {
  WarnIfInsecure(targets, log);
  bool done = true;
  if (!targets.nfd_feature_file.empty()) {
    std::string error;
    const bool written = WriteNfdFeatures(targets.nfd_feature_file,
                                          ToNfdFeatures(wanted.labels, std::nullopt), &error);
    if (!written)
      log.Write(LogLevel::kError, "NFD's feature file is not written", {{"error", error}});
    done = written;
  }
  if (targets.kubernetes) {
    const std::string error = ApplyOnce(*targets.kubernetes, wanted, log, kOncePatience);
    if (!error.empty()) {
      log.Write(LogLevel::kError, "The Node's labels are not applied",
                {{"node", targets.kubernetes->node.node}, {"error", error}});
    }
    done = done && error.empty();
  }
  return done;
}

bool CleanUpLabels(const LabelTargets& targets, const Log& log) {
  WarnIfInsecure(targets, log);
  bool done = true;
  const std::string& file = targets.nfd_feature_file;
  if (!file.empty() && unlink(file.c_str()) != 0 && errno != ENOENT) {
    log.Write(LogLevel::kError, "NFD's feature file cannot be removed",
              {{"file", file}, {"error", std::strerror(errno)}});
    done = false;
  }
  if (targets.kubernetes) {
    const std::string error = CleanUp(*targets.kubernetes, log, kOncePatience);
    if (!error.empty()) {
      log.Write(LogLevel::kError, "The Node's labels are not removed",
                {{"node", targets.kubernetes->node.node}, {"error", error}});
    }
    done = done && error.empty();
  }
  return done;
}

LabelOutputs::LabelOutputs(LabelTargets targets, const Log& log)
    : targets_(std::move(targets)), log_(log), metrics_(std::make_shared<std::string>()) {
  if (!targets_.nfd_feature_file.empty()) {
    nfd_held_ =
        ParseNfdFeatures(ReadFile(targets_.nfd_feature_file), std::chrono::system_clock::now());
  }
  WarnIfInsecure(targets_, log_);
  if (targets_.kubernetes && !targets_.nfd_feature_file.empty()) {
    log_.Write(LogLevel::kWarn,
               "Both --labels.kubernetes and --nfd.feature-file are on: the labels belong to both, "
               "and go only when both drop them");
  }
}

void LabelOutputs::Publish(const WantedLabels& wanted, Clock::time_point now) {
  if (targets_.kubernetes && sink_ == nullptr) {
    sink_ = LabelSink::Start(*targets_.kubernetes, wanted, log_, [this](const SinkReport& report) {
      auto text = std::make_shared<const std::string>(ToLabelSinkMetrics(report));
      const std::lock_guard lock(mutex_);
      metrics_ = std::move(text);
    });
  } else if (sink_ != nullptr) {
    sink_->Publish(wanted);
  }
  if (!targets_.nfd_feature_file.empty() && (!nfd_due_ || wanted != wanted_)) {
    wanted_ = wanted;
    WriteNfdFeatures(now);
  }
}

void LabelOutputs::Tick(Clock::time_point now) {
  if (nfd_due_ && *nfd_due_ <= now) WriteNfdFeatures(now);
}

std::string LabelOutputs::Metrics() const {
  std::shared_ptr<const std::string> text;
  {
    const std::lock_guard lock(mutex_);
    text = metrics_;
  }
  return *text;
}

bool LabelOutputs::Stop(std::chrono::milliseconds patience) {
  return sink_ == nullptr || sink_->Stop(patience);
}

void LabelOutputs::WriteNfdFeatures(Clock::time_point now) {
  if (wanted_.may_remove) nfd_held_.clear();
  LabelSet labels = wanted_.labels;
  for (const Label& held : nfd_held_) {
    if (std::ranges::find(labels, held.key, &Label::key) == labels.end()) labels.push_back(held);
  }
  std::string error;
  const auto expiry = std::chrono::system_clock::now() + kNfdLife;
  const bool written =
      exporter::WriteNfdFeatures(targets_.nfd_feature_file, ToNfdFeatures(labels, expiry), &error);
  nfd_due_ = now + (written ? Clock::duration(kNfdRenewal) : Clock::duration(kNfdRetry));
  if (!written && error != nfd_fault_) {
    log_.Write(LogLevel::kError, "NFD's feature file is not written; trying again",
               {{"error", error}});
  }
  if (written && !nfd_fault_.empty()) {
    log_.Write(LogLevel::kInfo, "NFD's feature file is written again");
  }
  nfd_fault_ = std::move(error);
}

}  // namespace exporter
