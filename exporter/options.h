// The command line, and the configuration file that it names. The only file that
// knows CLI11.
#ifndef EXPORTER_OPTIONS_H_
#define EXPORTER_OPTIONS_H_

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "exporter/host_paths.h"
#include "exporter/log.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"

namespace exporter {

struct KubernetesOptions {
  bool labels = false;     // apply the labels to our Node
  std::string kubeconfig;  // file; empty: $KUBECONFIG, a pod's service account, ~/.kube/config
  std::string context;     // empty: the kubeconfig's current one
  std::string node_name;   // empty: $NODE_NAME, else the host name
  std::chrono::duration<double> resync_interval{300};
  std::chrono::duration<double> start_jitter{30};
  bool watch = false;
  bool force_conflicts = true;
  bool adopt = false;

  friend bool operator==(const KubernetesOptions&, const KubernetesOptions&) = default;
};

struct Options {
  bool dry_run = false;
  bool config_check = false;     // check the configuration, and exit
  bool once = false;             // write the labels where they go, and exit
  bool cleanup = false;          // remove them there, and exit
  bool nfd_write_once = false;   // once, and only NFD's feature file
  std::string nfd_feature_file;  // empty: none
  KubernetesOptions kubernetes;
  std::string snapshot;  // where to write what is read, "-": standard output; empty: none
  std::optional<std::string> explain;  // what is to be explained; "": everything
  LabelRules labels;
  std::chrono::duration<double> removal_delay{30};
  std::chrono::duration<double> refresh_interval{300};
  std::string catalogue_file;  // empty: the built-in catalogue alone
  HostPaths paths;
  std::set<std::string, std::less<>> disabled_collectors;
  std::vector<std::string> listen_addresses = {":9931"};
  std::string telemetry_path = "/metrics";
  std::string web_config_file;    // empty: plain HTTP for everybody
  bool enable_lifecycle = false;  // POST /-/reload
  std::string textfile_directory;  // node_exporter's; empty: none
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kLogfmt;

  friend bool operator==(const Options&, const Options&) = default;
};

// The command line asks for something other than a run.
struct Exit {
  int code;          // 0: --help or --version; 2: wrong usage or configuration
  std::string text;  // for standard output if code is 0, else for standard error; whole lines
};

std::variant<Options, Exit> ParseOptions(int argc, const char* const* argv, const BuildInfo& build);

}  // namespace exporter

#endif  // EXPORTER_OPTIONS_H_
