// Node labels as a local feature file of Node Feature Discovery, whose worker reads
// it and has the labels put on the Node: no access to the Kubernetes API is needed.
//
// https://kubernetes-sigs.github.io/node-feature-discovery/stable/usage/customization-guide.html#local-feature-source,
// and source/local/local.go of NFD 0.15 to 0.19. nfd-master takes labels of any prefix
// without a flag, but none of kubernetes.io and below it, and none that its
// -deny-label-ns names. The worker looks every minute (core.sleepInterval); 0.19.0 also
// watches the folder, but takes up one event a second: the first of an atomic write,
// at which the file is still the old one.
#ifndef EXPORTER_SINKS_NFD_FEATURE_FILE_H_
#define EXPORTER_SINKS_NFD_FEATURE_FILE_H_

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "exporter/label_set.h"

namespace exporter {

// The folder is fixed in NFD's worker; the name is that of k8s-dt-node-labeller, so
// that its file is replaced and does not stand beside ours for ever.
inline constexpr std::string_view kNfdFeatureFile =
    "/etc/kubernetes/node-feature-discovery/features.d/devicetree-features";

// NFD ignores a larger file.
inline constexpr std::size_t kMaxNfdFeatureBytes = 65536;

// The file, one KEY=VALUE a line. From `expiry` on NFD takes none of it for true, and
// removes the labels the next time it looks: they do not outlive us. Without one they
// stay as long as the file.
std::string ToNfdFeatures(const LabelSet& labels,
                          std::optional<std::chrono::system_clock::time_point> expiry);

// The labels that such a file holds, without those that have expired at `now`. Other
// lines do not count.
LabelSet ParseNfdFeatures(std::string_view text, std::chrono::system_clock::time_point now);

// Writes `features`, made by ToNfdFeatures, atomically into the file `path`, mode 0644,
// and makes its folder where there is none. NFD does not see the file that is
// written beside it, because its name begins with a dot. False and one line in *error
// if that fails or NFD would ignore the file for its size: then the old file stands.
bool WriteNfdFeatures(const std::string& path, std::string_view features, std::string* error);

}  // namespace exporter

#endif  // EXPORTER_SINKS_NFD_FEATURE_FILE_H_
