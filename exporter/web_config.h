// The web configuration file: TLS, users, headers and a rate limit, in the format that
// Prometheus and its exporters share (exporter-toolkit, docs/web-configuration.md at
// commit 19a7c2d, July 2026).
//
// Each key of that format is honoured or refused by name. Refused, where exporter-toolkit
// would do something else than the file says or nothing at all: http2: true (HTTP/1.1 is
// spoken), a burst of 0 (no request would pass), a PEM given twice, allowed names without
// client certificates.
#ifndef EXPORTER_WEB_CONFIG_H_
#define EXPORTER_WEB_CONFIG_H_

#include <string>
#include <string_view>

#include "dt/result.h"
#include "exporter/sinks/web_settings.h"

namespace exporter {

// What `text` asks for; the files that it names are relative to the folder of `file`, and
// not read here. Errors are kMalformed, "FILE:LINE:COLUMN: what stands there; what was
// expected", and quote neither keys nor hashes.
dt::Result<WebSettings> ParseWebConfig(std::string_view text, const std::string& file);

}  // namespace exporter

#endif  // EXPORTER_WEB_CONFIG_H_
