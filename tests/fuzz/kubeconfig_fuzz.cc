// Any bytes give an ApiAccess, or one line that says where they are none. An ApiAccess
// names a host and a port to connect to, puts nothing into a request's line or header
// that could end it early, and its credentials are whole: PEM or an absolute path, a
// certificate with its key, no authority where none would be asked.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "exporter/kubeconfig.h"
#include "tests/fuzz/properties.h"

namespace {

using exporter::ApiAccess;
using exporter::Credential;

// Of printable ASCII without spaces.
bool IsOneWord(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
}

bool IsHost(std::string_view text) {
  const auto allowed = [](char c) {
    return fuzz::IsLetterOrDigit(c) || c == '.' || c == '-' || c == '_' || c == ':';
  };
  return !text.empty() && std::ranges::all_of(text, allowed);
}

bool IsPort(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return !text.empty() && text.size() <= 5 && text[0] != '0' &&
         std::ranges::all_of(text, is_digit) && std::stoi(std::string(text)) <= 65535;
}

void RequireWhole(const Credential& credential, bool is_pem) {
  const std::string& file = credential.file;
  const std::string& text = credential.text;
  fuzz::Require(file.empty() || file[0] == '/', "a credential's file is absolute", file);
  fuzz::Require(file.empty() || text.empty(), "a credential is in one place", file);
  if (text.empty()) return;
  fuzz::Require(is_pem ? text.find("-----BEGIN ") != std::string::npos : IsOneWord(text),
                "a credential is PEM, or a token of one word", text);
}

void RequireUsable(const ApiAccess& access) {
  fuzz::Require(IsHost(access.host), "the host is one", access.host);
  fuzz::Require(IsPort(access.port), "the port is one", access.port);
  fuzz::Require(IsHost(access.server_name), "the server's name is one", access.server_name);
  const std::string& path = access.path_prefix;
  fuzz::Require(IsOneWord(path) && path.find_first_of("?#") == std::string::npos,
                "the path can stand in a request's line", path);
  fuzz::Require(path.empty() || (path.front() == '/' && path.back() != '/'),
                "the path begins with a / and ends without", path);
  RequireWhole(access.token, false);
  for (const Credential* pem :
       {&access.certificate_authority, &access.client_certificate, &access.client_key}) {
    RequireWhole(*pem, true);
  }
  fuzz::Require(access.client_certificate.empty() == access.client_key.empty(),
                "a certificate comes with its key", access.client_certificate.text);
  fuzz::Require(!access.insecure_skip_tls_verify || access.certificate_authority.empty(),
                "an authority is asked", access.certificate_authority.text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* context : {"", "b"}) {
    const auto access = exporter::ParseKubeconfig(text, "f.yaml", context);
    if (access) {
      RequireUsable(*access);
    } else {
      fuzz::RequirePlacedLine(access.error().message, "f.yaml");
    }
  }
  return 0;
}
