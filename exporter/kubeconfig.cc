#include "exporter/kubeconfig.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "exporter/base64.h"
#include "exporter/printable.h"
#include "exporter/read_file.h"
#include "exporter/yaml_document.h"

namespace exporter {
namespace {

namespace fs = std::filesystem;
using Kind = YamlValue::Kind;

constexpr std::string_view kServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

constexpr std::string_view kAlphanumeric =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

// What may stand in the parts that a context brings together, and what is done with it.
enum class Use { kRead, kNoEffect, kRefused };
struct Key {
  std::string_view part;
  std::string_view name;
  Use use;
};
constexpr Key kKeys[] = {
    {"context", "cluster", Use::kRead},
    {"context", "user", Use::kRead},
    {"context", "namespace", Use::kNoEffect},
    {"context", "extensions", Use::kNoEffect},
    {"cluster", "server", Use::kRead},
    {"cluster", "certificate-authority", Use::kRead},
    {"cluster", "certificate-authority-data", Use::kRead},
    {"cluster", "tls-server-name", Use::kRead},
    {"cluster", "insecure-skip-tls-verify", Use::kRead},
    {"cluster", "disable-compression", Use::kNoEffect},
    {"cluster", "extensions", Use::kNoEffect},
    {"cluster", "proxy-url", Use::kRefused},
    {"user", "client-certificate", Use::kRead},
    {"user", "client-certificate-data", Use::kRead},
    {"user", "client-key", Use::kRead},
    {"user", "client-key-data", Use::kRead},
    {"user", "token", Use::kRead},
    {"user", "tokenFile", Use::kRead},
    {"user", "extensions", Use::kNoEffect},
    {"user", "as", Use::kRefused},
    {"user", "as-groups", Use::kRefused},
    {"user", "as-uid", Use::kRefused},
    {"user", "as-user-extra", Use::kRefused},
    {"user", "auth-provider", Use::kRefused},
    {"user", "exec", Use::kRefused},
    {"user", "password", Use::kRefused},
    {"user", "username", Use::kRefused},
};

// Thrown and caught in this file. No message quotes a credential.
struct Refused {
  int line;
  int column;
  std::string why;
};

[[noreturn]] void Refuse(const YamlValue& at, std::string why) {
  throw Refused{at.line, at.column, std::move(why)};
}

std::string Quoted(std::string_view text) { return "\"" + Printable(text) + "\""; }

// As for client-go: null, "", [] and {} are not there.
bool IsEmpty(const YamlValue& value) {
  return value.scalar.empty() && value.items.empty() && value.entries.empty();
}

// What `key` of `mapping` is; null if there is nothing.
const YamlValue* Find(const YamlValue& mapping, std::string_view key) {
  for (const YamlEntry& entry : mapping.entries) {
    if (entry.key.scalar == key && !IsEmpty(entry.value)) return &entry.value;
  }
  return nullptr;
}

const std::string& Text(const YamlValue& value) {
  if (value.kind != Kind::kScalar) {
    Refuse(value, (value.kind == Kind::kSequence ? "a list" : "a mapping") +
                      std::string("; expected text"));
  }
  return value.scalar;
}

// Refuses what kKeys does not let stand in this `part`.
void CheckKeys(const YamlValue& mapping, std::string_view part) {
  std::string expected;
  for (const Key& key : kKeys) {
    if (key.part != part || key.use != Use::kRead) continue;
    expected += (expected.empty() ? "; expected " : ", ") + std::string(key.name);
  }
  for (const YamlEntry& entry : mapping.entries) {
    const std::string& name = entry.key.scalar;
    const auto is_it = [&](const Key& key) { return key.part == part && key.name == name; };
    const Key* const key = std::ranges::find_if(kKeys, is_it);
    if (key == std::end(kKeys)) Refuse(entry.key, "unknown key " + Quoted(name) + expected);
    if (key->use == Use::kRefused && !IsEmpty(entry.value)) {
      Refuse(entry.key, Printable(name) + " is not supported" + expected);
    }
  }
}

// The `part` that is called `name`: the document's list PARTs holds {name: ..., PART: {...}}.
const YamlValue& Named(const YamlValue& document, const std::string& part, const YamlValue& name) {
  const YamlValue* found = nullptr;
  std::string known;
  const YamlValue nothing;
  const YamlValue* list = Find(document, part + "s");
  for (const YamlValue& item : (list != nullptr ? *list : nothing).items) {
    const YamlValue* its_name = Find(item, "name");
    if (its_name == nullptr) continue;
    known += (known.empty() ? "" : ", ") + Quoted(Text(*its_name));
    if (its_name->scalar != Text(name)) continue;
    if (found != nullptr) Refuse(*its_name, "a second " + part + " " + Quoted(name.scalar));
    found = &item;
  }
  if (found == nullptr) {
    Refuse(name, "no " + part + " " + Quoted(Text(name)) + "; expected " +
                     (known.empty() ? "a list " + part + "s of names" : known));
  }
  for (const YamlEntry& entry : found->entries) {
    if (entry.key.scalar != part) continue;
    if (entry.value.kind != Kind::kMapping && !IsEmpty(entry.value)) {
      Refuse(entry.value, "no mapping; expected what makes a " + part);
    }
    CheckKeys(entry.value, part);
    return entry.value;
  }
  Refuse(*found, "no " + part + " beside its name; expected " + part + ": {...}");
}

bool IsOf(std::string_view characters, std::string_view text) {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

bool IsHostName(std::string_view text) {
  return text.size() <= 253 && IsOf(std::string(kAlphanumeric) + "-._", text);
}

bool IsIpv6(std::string_view text) {
  in6_addr address;
  return inet_pton(AF_INET6, std::string(text).c_str(), &address) == 1;
}

// "06443" is port 6443; nullopt if `text` is no port.
std::optional<std::string> ToPort(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return std::to_string(port);
}

// Reads https://HOST[:PORT][/PATH], of what RFC 3986 allows the part that means something here.
void ReadServer(const YamlValue& value, ApiAccess* access) {
  constexpr std::string_view kScheme = "https://",
                             kExpected = "; expected https://HOST[:PORT][/PATH]";
  const auto refuse = [&](std::string_view what) {
    Refuse(value, std::string(what) + std::string(kExpected));
  };
  const std::string_view url = Text(value);
  // Not quoted: a password may stand before the @.
  if (url.find('@') != std::string_view::npos) refuse("a URL with @");
  if (!url.starts_with(kScheme)) refuse(Quoted(url));
  std::string_view host = url.substr(kScheme.size());
  const std::size_t slash = std::min(host.find('/'), host.size());
  std::string_view path = host.substr(slash);
  host = host.substr(0, slash);
  while (path.ends_with('/')) path.remove_suffix(1);

  std::string_view port = "443";
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && !host.ends_with(']')) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  const bool brackets = host.size() > 2 && host.starts_with('[') && host.ends_with(']');
  if (brackets) host = host.substr(1, host.size() - 2);
  const std::optional<std::string> number = ToPort(port);
  if (!(brackets ? IsIpv6(host) : IsHostName(host)) || !number ||
      (!path.empty() && !IsOf(std::string(kAlphanumeric) + "-._~!$&'()*+,;=:%/", path))) {
    refuse(Quoted(url));
  }
  access->host = host;
  access->port = *number;
  access->path_prefix = path;
}

// What `key` names as a file, or `key`-data holds as base64. Like client-go not both: it says
// that one overrides the other, and refuses them (validation.go).
Credential ReadPem(const YamlValue& part, const std::string& key, const fs::path& folder) {
  const YamlValue* file = Find(part, key);
  const YamlValue* data = Find(part, key + "-data");
  if (file != nullptr && data != nullptr) {
    Refuse(*data, key + "-data beside " + key + "; expected one of them");
  }
  Credential credential;
  if (file != nullptr) credential.file = (folder / Text(*file)).lexically_normal();
  if (data != nullptr) {
    const std::optional<std::string> pem = FromBase64(Text(*data));
    // "DATA+OMITTED", which `kubectl config view` shows, is base64 too.
    if (!pem || pem->find("-----BEGIN ") == std::string::npos) {
      Refuse(*data, key + "-data is not base64 of PEM; expected what is in the file in base64");
    }
    credential.text = *pem;
  }
  return credential;
}

// A token's file counts for more than the token beside it, as in client-go (round_trippers.go).
Credential ReadToken(const YamlValue& user, const fs::path& folder) {
  Credential credential;
  if (const YamlValue* file = Find(user, "tokenFile")) {
    credential.file = (folder / Text(*file)).lexically_normal();
  } else if (const YamlValue* token = Find(user, "token")) {
    constexpr std::string_view kSpaces = " \t\r\n";
    const std::string& text = Text(*token);
    const std::size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
    credential.text = text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
    // It becomes a part of a header's line.
    const auto is_graphic = [](char c) { return c > ' ' && c < '\x7f'; };
    if (credential.text.empty() || !std::ranges::all_of(credential.text, is_graphic)) {
      Refuse(*token, "token is not one word; expected ASCII without spaces");
    }
  }
  return credential;
}

void ReadCluster(const YamlValue& cluster, const fs::path& folder, ApiAccess* access) {
  const YamlValue* server = Find(cluster, "server");
  if (server == nullptr) Refuse(cluster, "no server; expected https://HOST[:PORT][/PATH]");
  ReadServer(*server, access);
  access->server_name = access->host;
  if (const YamlValue* name = Find(cluster, "tls-server-name")) {
    if (!IsHostName(Text(*name)) && !IsIpv6(name->scalar)) {
      Refuse(*name, Quoted(name->scalar) + "; expected a host name or an address");
    }
    access->server_name = name->scalar;
  }
  access->certificate_authority = ReadPem(cluster, "certificate-authority", folder);
  if (const YamlValue* skip = Find(cluster, "insecure-skip-tls-verify")) {
    if (Text(*skip) != "true" && skip->scalar != "false") {
      Refuse(*skip, Quoted(skip->scalar) + "; expected true or false");
    }
    access->insecure_skip_tls_verify = skip->scalar == "true";
    if (access->insecure_skip_tls_verify && !access->certificate_authority.empty()) {
      Refuse(*skip,
             "insecure-skip-tls-verify beside a certificate-authority; expected one of them");
    }
  }
}

void ReadUser(const YamlValue& user, const fs::path& folder, ApiAccess* access) {
  access->token = ReadToken(user, folder);
  access->client_certificate = ReadPem(user, "client-certificate", folder);
  access->client_key = ReadPem(user, "client-key", folder);
  if (access->client_certificate.empty() == access->client_key.empty()) return;
  Refuse(user, access->client_key.empty() ? "client-certificate without client-key; expected both"
                                          : "client-key without client-certificate; expected both");
}

ApiAccess Read(const YamlValue& document, const std::string& context, const fs::path& folder) {
  for (const auto& [key, expected] : {std::pair("kind", "Config"), std::pair("apiVersion", "v1")}) {
    const YamlValue* value = Find(document, key);
    if (value != nullptr && Text(*value) != expected) {
      Refuse(*value, std::string(key) + " " + Quoted(value->scalar) + "; expected " + expected);
    }
  }
  YamlValue name = document;
  name.kind = Kind::kScalar;
  name.scalar = context;
  if (context.empty()) {
    const YamlValue* current = Find(document, "current-context");
    if (current == nullptr) Refuse(document, "no current-context; expected a context's name");
    name = *current;
  }
  // No reference: GCC 14 takes it for one of a temporary, "context".
  const YamlValue* chosen = &Named(document, "context", name);
  const auto part = [&](const std::string& key) -> const YamlValue& {
    const YamlValue* its_name = Find(*chosen, key);
    if (its_name == nullptr) Refuse(*chosen, "no " + key + "; expected a " + key + "'s name");
    return Named(document, key, *its_name);
  };
  ApiAccess access;
  ReadCluster(part("cluster"), folder, &access);
  ReadUser(part("user"), folder, &access);
  return access;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// False only of what is surely not there.
bool MayExist(const fs::path& file) {
  std::error_code error;
  return fs::status(file, error).type() != fs::file_type::not_found;
}

// $KUBECONFIG is a list of files; those that are not there do not count.
dt::Result<ApiAccess> ReadKubeconfigOf(const std::string& list, const std::string& context) {
  std::vector<std::string> files;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ':');) {
    if (!part.empty() && MayExist(part)) files.push_back(part);
  }
  if (files.size() == 1) return ReadKubeconfig(files.front(), context);
  if (files.empty()) {
    return dt::Error{dt::ErrorCode::kNotFound, "$KUBECONFIG: " + Printable(list) + ": not there"};
  }
  return dt::Error{dt::ErrorCode::kMalformed,
                   "$KUBECONFIG: " + Printable(list) + ": several files; one expected"};
}

}  // namespace

dt::Result<ApiAccess> ParseKubeconfig(std::string_view text, const std::string& file,
                                      const std::string& context) {
  const dt::Result<YamlValue> document = ParseYaml(text, file);
  if (!document) return document.error();
  try {
    std::error_code ignored;
    return Read(*document, context, fs::absolute(file, ignored).parent_path());
  } catch (const Refused& refused) {
    return dt::Error{dt::ErrorCode::kMalformed, file + ":" + std::to_string(refused.line) + ":" +
                                                    std::to_string(refused.column) + ": " +
                                                    refused.why};
  }
}

dt::Result<ApiAccess> ReadKubeconfig(const std::string& file, const std::string& context) {
  std::string text;
  const std::string why = ReadFile(file, kMaxYamlBytes, &text);
  if (!why.empty()) {
    return dt::Error{errno == ENOENT ? dt::ErrorCode::kNotFound : dt::ErrorCode::kIo,
                     file + ": " + why + "; expected a kubeconfig"};
  }
  return ParseKubeconfig(text, file, context);
}

ApiAccess InClusterAccess(const std::string& host, const std::string& port,
                          const std::string& service_account) {
  ApiAccess access;
  access.host = host;
  access.port = port;
  access.server_name = host;
  access.certificate_authority.file = service_account + "/ca.crt";
  access.token.file = service_account + "/token";
  return access;
}

dt::Result<ApiAccess> FindApiAccess(const std::string& file, const std::string& context) {
  if (!file.empty()) return ReadKubeconfig(file, context);
  const std::string list = Environment("KUBECONFIG");
  if (!list.empty()) return ReadKubeconfigOf(list, context);
  const std::string host = Environment("KUBERNETES_SERVICE_HOST");
  const std::string port = Environment("KUBERNETES_SERVICE_PORT");
  if (!host.empty() && !port.empty()) {
    if (context.empty()) return InClusterAccess(host, port, std::string(kServiceAccount));
    return dt::Error{
        dt::ErrorCode::kMalformed,
        "context " + Quoted(context) + ": a pod's service account has none; expected a kubeconfig"};
  }
  const std::string home = Environment("HOME");
  const std::string of_home = home + "/.kube/config";
  if (!home.empty() && MayExist(of_home)) return ReadKubeconfig(of_home, context);
  return dt::Error{dt::ErrorCode::kNotFound,
                   "no way to the Kubernetes API: no --kubeconfig, no $KUBECONFIG, no "
                   "$KUBERNETES_SERVICE_HOST and _PORT as in a pod, and no ~/.kube/config"};
}

}  // namespace exporter
