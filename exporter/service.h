// The long run: one snapshot at a time, published until something changes it.
#ifndef EXPORTER_SERVICE_H_
#define EXPORTER_SERVICE_H_

#include "exporter/catalogue.h"
#include "exporter/inventory.h"
#include "exporter/label_outputs.h"
#include "exporter/log.h"
#include "exporter/options.h"
#include "exporter/uevents.h"

namespace exporter {

// Serves `inventory` over HTTP, and reads the hardware again when `uevents` say
// that it changed (without them every options.refresh_interval), and at SIGHUP,
// which `signals`, a signalfd, tells. Returns the exit code once SIGTERM or SIGINT
// came. `targets` get the labels, and keep them afterwards. REQUIRES: `uevents` was opened before
// the inventory was read, so that no change is missed.
int Serve(const Options& options, const Catalogue& catalogue, const Log& log, Inventory inventory,
          dt::Result<UeventSocket> uevents, LabelTargets targets, int signals);

// Logs the problems that stand in `inventory` and did not in `before` (may be null).
void LogProblems(const Log& log, const Inventory& inventory, const Inventory* before);

}  // namespace exporter

#endif  // EXPORTER_SERVICE_H_
