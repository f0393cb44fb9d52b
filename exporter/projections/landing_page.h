// The page at /: the snapshot for a person with a browser.
//
// One HTML document without external resources. It says all it has to say without
// JavaScript, which adds the copy buttons. landing_page.css and landing_page.js
// beside this file are part of the program, and of every page.
#ifndef EXPORTER_PROJECTIONS_LANDING_PAGE_H_
#define EXPORTER_PROJECTIONS_LANDING_PAGE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "exporter/inventory.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"

namespace exporter {

// Bounds, so that no devicetree makes a page that a browser cannot show. Real
// boards (at most 1,112 nodes) stay far below; the page says what it leaves out.
inline constexpr std::size_t kMaxPageRows = 500;           // of each list
inline constexpr std::size_t kMaxPageTreeBytes = 300'000;  // of the devicetree, as HTML
inline constexpr std::size_t kMaxPageTextBytes = 400;      // of one string; label keys fit
inline constexpr std::size_t kMaxPagePlaces = 8;           // that one label comes from

// Where the server's other pages are: absolute paths.
struct PageLinks {
  std::string metrics = "/metrics";
  std::string inventory = "/inventory.json";
  std::string healthy = "/-/healthy";
  std::string ready = "/-/ready";
};

// Costs about a millisecond for the largest boards. Every string of the hardware's
// is shown as Printable has it, and none of its characters is markup.
std::string ToLandingPage(const Inventory& inventory, const LabelReport& labels,
                          const BuildInfo& build, const PageLinks& links = {});

// The Content-Security-Policy header to serve it with: nothing but its own style
// and script, which are named by their hashes.
std::string_view LandingPageCsp();

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_LANDING_PAGE_H_
