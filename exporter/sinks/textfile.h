// Metrics as a file of node_exporter's textfile collector, for hosts where that runs
// already: https://github.com/prometheus/node_exporter#textfile-collector.
#ifndef EXPORTER_SINKS_TEXTFILE_H_
#define EXPORTER_SINKS_TEXTFILE_H_

#include <string>
#include <string_view>

namespace exporter {

// The file in `directory` that is ours: node_exporter reads what ends in .prom.
std::string TextfilePath(const std::string& directory);

// Writes the exposition `metrics`, atomically and with mode 0644, because node_exporter
// runs as another user. False and one line in *error if that fails; the old file stands.
bool WriteTextfile(const std::string& directory, std::string_view metrics, std::string* error);

}  // namespace exporter

#endif  // EXPORTER_SINKS_TEXTFILE_H_
