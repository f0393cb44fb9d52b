// The long run: one snapshot at a time, published until something changes it.
#ifndef EXPORTER_SERVICE_H_
#define EXPORTER_SERVICE_H_

#include <functional>
#include <memory>

#include "exporter/catalogue.h"
#include "exporter/inventory.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/outputs.h"
#include "exporter/uevents.h"
#include "exporter/web_config_file.h"

namespace exporter {

// All that flags and files say.
struct Configuration {
  Options options;
  Catalogue catalogue;
  OutputTargets targets;
  std::shared_ptr<WebConfigFile> web;  // null without --web.config.file
};

// Serves `inventory` over HTTP and hands it to the configured targets, and reads the
// hardware again when `uevents` say that it changed (without them every
// refresh_interval). SIGHUP, which `signals`, a signalfd, tells, and POST /-/reload have
// `load` read the configuration again; if that fails, the old one stays. Returns the exit code once
// SIGTERM or SIGINT came; labels and files stay. REQUIRES: `uevents` was opened before
// the inventory was read, so that no change is missed.
int Serve(Configuration configuration, const std::function<dt::Result<Configuration>()>& load,
          Log& log, Inventory inventory, dt::Result<UeventSocket> uevents, int signals);

// Logs the problems that stand in `inventory` and did not in `before` (may be null).
void LogProblems(const Log& log, const Inventory& inventory, const Inventory* before);

}  // namespace exporter

#endif  // EXPORTER_SERVICE_H_
