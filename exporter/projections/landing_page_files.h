// landing_page.css and landing_page.js as strings of the program. Made by the build.
#ifndef EXPORTER_PROJECTIONS_LANDING_PAGE_FILES_H_
#define EXPORTER_PROJECTIONS_LANDING_PAGE_FILES_H_

#include <string_view>

namespace exporter {

std::string_view LandingPageStyle();
std::string_view LandingPageScript();

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_LANDING_PAGE_FILES_H_
