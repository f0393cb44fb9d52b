// What this binary was built from. Defined by the build.
#ifndef EXPORTER_BUILD_INFO_H_
#define EXPORTER_BUILD_INFO_H_

#include "exporter/projections/metrics.h"

namespace exporter {

extern const BuildInfo kBuildInfo;

}  // namespace exporter

#endif  // EXPORTER_BUILD_INFO_H_
