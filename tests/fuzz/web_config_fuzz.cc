// Any bytes give WebSettings, or one line that says where they are none. WebSettings hold
// bcrypt hashes alone, headers that cannot end their line, a limit that lets something pass,
// and TLS with a certificate and its key.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "exporter/web_config.h"
#include "tests/fuzz/properties.h"

namespace {

using exporter::PemSource;
using exporter::WebSettings;

void RequireOneSource(const PemSource& pem) {
  fuzz::Require(pem.text.empty() || pem.file.empty(), "PEM is in one place", pem.file);
}

void RequireUsable(const WebSettings& settings, std::string_view text) {
  for (const auto& [name, value] : settings.headers) {
    fuzz::Require(std::ranges::none_of(value, [](char c) { return c == '\r' || c == '\n'; }),
                  "a header stays in its line", value);
    fuzz::Require(!name.empty() && !value.empty(), "a header has a name and a value", name);
  }
  for (const auto& [name, hash] : settings.users) {
    fuzz::Require(hash.size() == 60 && hash.starts_with("$2"), "a hash is bcrypt's", hash);
    fuzz::Require(name.find(':') == std::string::npos, "a name can be sent", name);
  }
  if (settings.rate_limit) {
    fuzz::Require(settings.rate_limit->interval.count() > 0 && settings.rate_limit->burst > 0,
                  "the limit lets something pass", text);
  }
  if (!settings.tls) return;
  fuzz::Require(!settings.tls->certificate.empty() && !settings.tls->key.empty(),
                "TLS has a certificate and its key", text);
  fuzz::Require(settings.tls->min_version <= settings.tls->max_version, "some version is spoken",
                text);
  for (const PemSource* pem :
       {&settings.tls->certificate, &settings.tls->key, &settings.tls->client_ca}) {
    RequireOneSource(*pem);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto settings = exporter::ParseWebConfig(text, "f.yaml");
  if (settings) {
    RequireUsable(*settings, text);
  } else {
    fuzz::RequirePlacedLine(settings.error().message, "f.yaml");
  }
  return 0;
}
