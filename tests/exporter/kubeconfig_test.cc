#include "exporter/kubeconfig.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Made by base64(1).
constexpr const char* kCertificate =
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
constexpr const char* kCertificateData =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
constexpr const char* kKey = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";
constexpr const char* kKeyData =
    "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0gKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo=";

constexpr const char* kUserKeys =
    "; expected client-certificate, client-certificate-data, client-key, client-key-data, token, "
    "tokenFile";
constexpr const char* kServerForm = "; expected https://HOST[:PORT][/PATH]";

ApiAccess Parsed(std::string_view text, const std::string& context = "",
                 const std::string& file = "/etc/f.yaml") {
  const dt::Result<ApiAccess> access = ParseKubeconfig(text, file, context);
  EXPECT_TRUE(access) << access.error().message;
  return access ? *access : ApiAccess{};
}

// The message that refuses `text`, of the file f; "taken" if none does.
std::string Refusal(std::string_view text, const std::string& context = "") {
  const dt::Result<ApiAccess> access = ParseKubeconfig(text, "f", context);
  if (access) return "taken";
  EXPECT_EQ(access.error().code, dt::ErrorCode::kMalformed);
  return access.error().message;
}

// A kubeconfig of one context: `cluster` from line 4, column 32 on, `user` from line 5, column 26.
std::string Kubeconfig(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
         "clusters: [{name: c, cluster: {" +
         cluster +
         "}}]\n"
         "users: [{name: u, user: {" +
         user +
         "}}]\n"
         "contexts: [{name: a, context: {cluster: c, user: u}}]\n";
}
std::string WithServer(const std::string& server) {
  return Kubeconfig("server: '" + server + "'", "token: t");
}
std::string WithCluster(const std::string& more) {
  return Kubeconfig("server: https://h, " + more, "token: t");
}
std::string WithUser(const std::string& user) { return Kubeconfig("server: https://h", user); }

// --- Whole files

TEST(Kubeconfig, AsKubectlWritesIt) {
  const ApiAccess access = Parsed(std::string(R"(apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: )") +
                                  kCertificateData + R"(
    extensions:
    - extension:
        last-update: Mon, 01 Jan 2024 10:00:00 UTC
        provider: minikube.sigs.k8s.io
      name: cluster_info
    server: https://192.168.49.2:8443
  name: minikube
contexts:
- context:
    cluster: minikube
    extensions:
    - extension: {version: v1.32.0}
      name: context_info
    namespace: default
    user: minikube
  name: minikube
current-context: minikube
kind: Config
preferences: {}
users:
- name: minikube
  user:
    client-certificate: /home/a/.minikube/client.crt
    client-key-data: )" + kKeyData +
                                  "\n");
  EXPECT_EQ(access.host, "192.168.49.2");
  EXPECT_EQ(access.port, "8443");
  EXPECT_EQ(access.path_prefix, "");
  EXPECT_EQ(access.server_name, "192.168.49.2");
  EXPECT_FALSE(access.insecure_skip_tls_verify);
  EXPECT_EQ(access.certificate_authority.text, kCertificate);
  EXPECT_EQ(access.certificate_authority.file, "");
  EXPECT_EQ(access.client_certificate.text, "");
  EXPECT_EQ(access.client_certificate.file, "/home/a/.minikube/client.crt");
  EXPECT_EQ(access.client_key.text, kKey);
  EXPECT_EQ(access.client_key.file, "");
  EXPECT_TRUE(access.token.empty());
}

TEST(Kubeconfig, MayBeJson) {
  const ApiAccess access = Parsed(R"({
  "kind": "Config", "apiVersion": "v1", "preferences": {}, "current-context": "a",
  "clusters": [{"name": "c", "cluster": {"server": "https:\/\/h:6443", "insecure-skip-tls-verify": true}}],
  "users": [{"name": "u", "user": {"token": "abc"}}],
  "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}]
})");
  EXPECT_EQ(access.host, "h");
  EXPECT_EQ(access.token.text, "abc");
  EXPECT_TRUE(access.insecure_skip_tls_verify);
}

TEST(Kubeconfig, MayLeaveOutKindAndVersion) {
  EXPECT_EQ(Parsed("current-context: a\n"
                   "clusters: [{name: c, cluster: {server: https://h}}]\n"
                   "users: [{name: u, user: }]\n"
                   "contexts: [{name: a, context: {cluster: c, user: u}}]\n")
                .host,
            "h");
}

TEST(Kubeconfig, OfAnotherKindIsRefused) {
  EXPECT_EQ(Refusal("kind: Secret\n"), "f:1:7: kind \"Secret\"; expected Config");
  EXPECT_EQ(Refusal("apiVersion: v2\n"), "f:1:13: apiVersion \"v2\"; expected v1");
}

TEST(Kubeconfig, IsOneStrictYamlDocument) {
  EXPECT_EQ(Refusal("a: 1\n---\nb: 2\n"), "f:2:1: a second document; one expected");
  EXPECT_EQ(Refusal("users:\nusers:\n"), "f:2:1: the key \"users\" stands here a second time");
}

// --- The context and what it names

constexpr const char* kTwoContexts = R"(current-context: one
clusters:
- {name: c1, cluster: {server: "https://h1"}}
- {name: c2, cluster: {server: "https://h2"}}
users:
- {name: u1, user: {token: t1}}
- {name: u2, user: {token: t2}}
- {name: others, user: {exec: {command: x}, password: p, unknown: 1}}
contexts:
- {name: one, context: {cluster: c1, user: u1}}
- {name: two, context: {cluster: c2, user: u2, namespace: kube-system}}
- {name: "3\n", context: {cluster: c9, user: u9}}
)";

TEST(Kubeconfig, GivesTheCurrentContext) {
  const ApiAccess access = Parsed(kTwoContexts);
  EXPECT_EQ(access.host, "h1");
  EXPECT_EQ(access.token.text, "t1");
}

TEST(Kubeconfig, GivesTheContextThatIsAskedFor) {
  const ApiAccess access = Parsed(kTwoContexts, "two");
  EXPECT_EQ(access.host, "h2");
  EXPECT_EQ(access.token.text, "t2");
}

TEST(Kubeconfig, ListsTheContextsWhereItHasNotTheOneAskedFor) {
  EXPECT_EQ(Refusal(kTwoContexts, "four"),
            R"(f:1:1: no context "four"; expected "one", "two", "3\x0a")");
}

TEST(Kubeconfig, SaysWhatAContextNamesInVain) {
  const std::string rest =
      "users: [{name: u}]\ncontexts: [{name: a, context: {cluster: c, user: v}}]\n";
  EXPECT_EQ(Refusal("current-context: b\n" + rest), "f:1:18: no context \"b\"; expected \"a\"");
  EXPECT_EQ(Refusal("current-context: a\n" + rest),
            "f:3:41: no cluster \"c\"; expected a list clusters of names");
  EXPECT_EQ(Refusal("clusters: [{name: c, cluster: {server: https://h}}]\n" + rest, "a"),
            "f:3:50: no user \"v\"; expected \"u\"");
}

TEST(Kubeconfig, NeedsAContextAClusterAServerAndAUser) {
  for (const char* nothing : {"", "{}", "current-context: ''", "text", "[]"}) {
    EXPECT_EQ(Refusal(nothing), "f:1:1: no current-context; expected a context's name") << nothing;
  }
  EXPECT_EQ(Refusal("contexts: [{name: a}]", "a"),
            "f:1:12: no context beside its name; expected context: {...}");
  EXPECT_EQ(Refusal("contexts: [{name: a, context: x}]", "a"),
            "f:1:31: no mapping; expected what makes a context");
  EXPECT_EQ(Refusal("contexts: [{name: a, context: {user: u}}]", "a"),
            "f:1:31: no cluster; expected a cluster's name");
  EXPECT_EQ(Refusal("clusters: [{name: c, cluster: {server: https://h}}]\n"
                    "contexts: [{name: a, context: {cluster: c}}]",
                    "a"),
            "f:2:31: no user; expected a user's name");
  EXPECT_EQ(Refusal(Kubeconfig("server: ''", "")), "f:4:31: no server" + std::string(kServerForm));
}

TEST(Kubeconfig, RefusesANameThatStandsTwice) {
  EXPECT_EQ(Refusal("contexts:\n- {name: a}\n- {name: b}\n- {name: a}\n", "a"),
            "f:4:10: a second context \"a\"");
}

TEST(Kubeconfig, ListsMayBeNull) {
  EXPECT_EQ(Refusal("clusters: null\ncontexts: null\nusers: null\n", "a"),
            "f:1:1: no context \"a\"; expected a list contexts of names");
}

// --- Keys

TEST(Kubeconfig, RefusesWhatItDoesNotSupport) {
  for (const char* key : {"as", "as-groups", "as-uid", "as-user-extra", "auth-provider", "exec",
                          "password", "username"}) {
    const std::string why = "f:5:37: " + std::string(key) + " is not supported" + kUserKeys;
    EXPECT_EQ(Refusal(WithUser("token: t , " + std::string(key) + ": S3CRET")), why);
    EXPECT_EQ(Refusal(WithUser("token: t , " + std::string(key) + ": [S3CRET]")), why);
    EXPECT_EQ(Refusal(WithUser("token: t , " + std::string(key) + ": {a: S3CRET}")), why);
  }
  EXPECT_EQ(Refusal(WithCluster("proxy-url: 'http://u:S3CRET@p'")),
            "f:4:51: proxy-url is not supported; expected server, certificate-authority, "
            "certificate-authority-data, tls-server-name, insecure-skip-tls-verify");
}

TEST(Kubeconfig, TakesWhatIsEmptyForNotThere) {
  for (const char* empty : {"", "null", "''", "[]", "{}"}) {
    std::string user = "token: t";
    for (const char* key : {"as", "as-groups", "as-uid", "as-user-extra", "auth-provider", "exec",
                            "password", "username", "tokenFile", "client-certificate",
                            "client-certificate-data", "client-key", "client-key-data"}) {
      user += ", " + std::string(key) + ": " + empty;
    }
    const ApiAccess access = Parsed(WithUser(user));
    EXPECT_EQ(access.token.text, "t");
    EXPECT_TRUE(access.client_certificate.empty() && access.client_key.empty());
    EXPECT_EQ(Refusal(WithCluster("proxy-url: " + std::string(empty))), "taken");
  }
}

TEST(Kubeconfig, RefusesUnknownKeysOfWhatItUses) {
  EXPECT_EQ(Refusal(WithUser("tokenfile: /t")),
            "f:5:26: unknown key \"tokenfile\"" + std::string(kUserKeys));
  EXPECT_THAT(Refusal(WithCluster("servre: x")), StartsWith("f:4:51: unknown key \"servre\"; "));
  EXPECT_EQ(Refusal("contexts: [{name: a, context: {users: b}}]", "a"),
            "f:1:32: unknown key \"users\"; expected cluster, user");
}

TEST(Kubeconfig, TakesKeysThatChangeNothingHere) {
  EXPECT_EQ(Refusal(WithCluster("disable-compression: true, extensions: [{name: x}]")), "taken");
  EXPECT_EQ(Refusal(WithUser("extensions: [{name: x, extension: {}}]")), "taken");
}

// --- The server

TEST(Kubeconfig, ReadsTheServersUrl) {
  const struct {
    const char *server, *host, *port, *path_prefix;
  } good[] = {
      {"https://h", "h", "443", ""},
      {"https://h/", "h", "443", ""},
      {"https://h:6443", "h", "6443", ""},
      {"https://h:06443/", "h", "6443", ""},
      {"https://h:65535", "h", "65535", ""},
      {"https://a-1.B_2.example", "a-1.B_2.example", "443", ""},
      {"https://10.0.0.1:6443", "10.0.0.1", "6443", ""},
      {"https://[::1]", "::1", "443", ""},
      {"https://[fd00::a]:6443", "fd00::a", "6443", ""},
      {"https://h/k8s/clusters/c-1", "h", "443", "/k8s/clusters/c-1"},
      {"https://h:1/a:2/%20//", "h", "1", "/a:2/%20"},
  };
  for (const auto& [server, host, port, path_prefix] : good) {
    const ApiAccess access = Parsed(WithServer(server));
    EXPECT_EQ(access.host, host) << server;
    EXPECT_EQ(access.port, port) << server;
    EXPECT_EQ(access.path_prefix, path_prefix) << server;
    EXPECT_EQ(access.server_name, host) << server;
  }
}

TEST(Kubeconfig, RefusesServersThatAreNoHttpsUrl) {
  for (const std::string bad : {"http://h",      "http://h:443",   "h",
                                "h:6443",        "HTTPS://h",      "https:h",
                                "https://",      "https:///p",     "https://:1",
                                "https://h:",    "https://h:0",    "https://h:65536",
                                "https://h:-1",  "https://h:1a",   "https://h:1:2",
                                "https://::1",   "https://[]",     "https://[h]",
                                "https://[::1",  "https://[::1]1", "https://[fe80::1%25eth0]",
                                "https://h?a",   "https://h#a",    "https://h/?a",
                                "https://h/a b", "https://h i",    "https://h/\xc3\xa4",
                                " https://h"}) {
    EXPECT_EQ(Refusal(WithServer(bad)), "f:4:40: \"" + bad + "\"" + kServerForm);
  }
}

TEST(Kubeconfig, ShowsNoPasswordOfAServersUrl) {
  EXPECT_EQ(Refusal(WithServer("https://user:S3CRET@h")),
            "f:4:40: a URL with @" + std::string(kServerForm));
}

TEST(Kubeconfig, TakesTheNameThatTheCertificateMustBeFor) {
  for (const char* name : {"kubernetes", "a.example", "10.0.0.1", "fd00::1"}) {
    const ApiAccess access = Parsed(WithCluster("tls-server-name: '" + std::string(name) + "'"));
    EXPECT_EQ(access.server_name, name);
    EXPECT_EQ(access.host, "h");
  }
  EXPECT_EQ(Refusal(WithCluster("tls-server-name: 'a b'")),
            "f:4:68: \"a b\"; expected a host name or an address");
}

TEST(Kubeconfig, SkipsVerificationOnlyWhereItIsToldToInPlainWords) {
  EXPECT_TRUE(Parsed(WithCluster("insecure-skip-tls-verify: true")).insecure_skip_tls_verify);
  EXPECT_FALSE(Parsed(WithCluster("insecure-skip-tls-verify: false")).insecure_skip_tls_verify);
  EXPECT_FALSE(Parsed(WithCluster("insecure-skip-tls-verify: ")).insecure_skip_tls_verify);
  EXPECT_EQ(Refusal(WithCluster("insecure-skip-tls-verify: yes")),
            "f:4:77: \"yes\"; expected true or false");
}

TEST(Kubeconfig, RefusesACertificateAuthorityThatWouldNotBeAsked) {
  const std::string why =
      "f:4:77: insecure-skip-tls-verify beside a certificate-authority; expected one of them";
  EXPECT_EQ(Refusal(WithCluster("insecure-skip-tls-verify: true, certificate-authority: ca")), why);
  EXPECT_EQ(Refusal(WithCluster("insecure-skip-tls-verify: true, certificate-authority-data: " +
                                std::string(kCertificateData))),
            why);
  EXPECT_EQ(Refusal(WithCluster("insecure-skip-tls-verify: false, certificate-authority: ca")),
            "taken");
}

// --- Credentials

TEST(Kubeconfig, NamesFilesFromItsOwnFolder) {
  const std::string text = Kubeconfig("server: https://h, certificate-authority: pki/ca.crt",
                                      "client-certificate: ../a.crt, client-key: /a.key");
  const ApiAccess access = Parsed(text, "", "/home/a/.kube/config");
  EXPECT_EQ(access.certificate_authority.file, "/home/a/.kube/pki/ca.crt");
  EXPECT_EQ(access.client_certificate.file, "/home/a/a.crt");
  EXPECT_EQ(access.client_key.file, "/a.key");
  EXPECT_EQ(Parsed(text, "", "f").certificate_authority.file,
            (std::filesystem::current_path() / "pki/ca.crt").string());
}

TEST(Kubeconfig, TakesATokensFileBeforeTheTokenBesideIt) {
  const ApiAccess access = Parsed(WithUser("token: t, tokenFile: t.txt"));
  EXPECT_EQ(access.token.file, "/etc/t.txt");
  EXPECT_EQ(access.token.text, "");
}

TEST(Kubeconfig, TakesSpacesAroundATokenOff) {
  EXPECT_EQ(Parsed(WithUser("token: \" a.b-c==\\n\"")).token.text, "a.b-c==");
}

TEST(Kubeconfig, RefusesATokenThatFitsNoHeader) {
  for (const char* token : {"\"a\\nHost: S3CRET\"", "a S3CRET", "' '", "S3CR\xc3\x89T"}) {
    EXPECT_EQ(Refusal(WithUser("token: " + std::string(token))),
              "f:5:33: token is not one word; expected ASCII without spaces");
  }
}

TEST(Kubeconfig, NeedsTextWhereTextBelongs) {
  EXPECT_EQ(Refusal(WithUser("token: [t]")), "f:5:33: a list; expected text");
  EXPECT_EQ(Refusal(WithUser("tokenFile: {a: b}")), "f:5:37: a mapping; expected text");
  EXPECT_EQ(Refusal("current-context: [a]"), "f:1:18: a list; expected text");
}

TEST(Kubeconfig, ReadsBase64OverSeveralLines) {
  std::string lines = kCertificateData;
  for (std::size_t at = 20; at < lines.size(); at += 23) lines.insert(at, "\\r\\n");
  EXPECT_EQ(Parsed(WithCluster("certificate-authority-data: \"" + lines + "\""))
                .certificate_authority.text,
            kCertificate);
}

TEST(Kubeconfig, ReadsBase64OfEveryLength) {
  // "-----BEGIN A-----", and with one and two bytes more.
  for (const auto& [data, pem] : {std::pair("LS0tLS1CRUdJTiBBLS0tLS0=", "-----BEGIN A-----"),
                                  {"LS0tLS1CRUdJTiBBLS0tLS0K", "-----BEGIN A-----\n"},
                                  {"LS0tLS1CRUdJTiBBLS0tLS0KCg==", "-----BEGIN A-----\n\n"}}) {
    EXPECT_EQ(Parsed(WithCluster("certificate-authority-data: " + std::string(data)))
                  .certificate_authority.text,
              pem);
  }
}

TEST(Kubeconfig, RefusesDataThatIsNotBase64OfPem) {
  const std::string good = "LS0tLS1CRUdJTiBBLS0tLS0K";
  for (const std::string& bad :
       {good + "=", good + "==", good + "A", good + "AA=", good + "A===", good + "====",
        "=" + good + "AA=", good + "-AAA", good + "A_AA", good + "' A'", good + "\\0AAA",
        std::string("AAAA"), std::string("DATA+OMITTED"), std::string("="), std::string("====")}) {
    EXPECT_EQ(
        Refusal(WithUser("client-certificate: c, client-key-data: \"" + bad + "\"")),
        "f:5:66: client-key-data is not base64 of PEM; expected what is in the file in base64")
        << bad;
  }
}

TEST(Kubeconfig, RefusesAFileBesideTheSameAsData) {
  const std::string data = "-data: " + std::string(kCertificateData);
  EXPECT_EQ(
      Refusal(WithCluster("certificate-authority: ca, certificate-authority" + data)),
      "f:4:106: certificate-authority-data beside certificate-authority; expected one of them");
  EXPECT_THAT(Refusal(WithUser("client-key: k, client-certificate: c, client-certificate" + data)),
              HasSubstr(": client-certificate-data beside client-certificate; "));
  EXPECT_THAT(Refusal(WithUser("client-certificate: c, client-key: k, client-key" + data)),
              HasSubstr(": client-key-data beside client-key; "));
}

TEST(Kubeconfig, RefusesHalfAnIdentity) {
  EXPECT_EQ(Refusal(WithUser("token: t, client-certificate: c")),
            "f:5:25: client-certificate without client-key; expected both");
  EXPECT_EQ(Refusal(WithUser("token: t, client-key: c")),
            "f:5:25: client-key without client-certificate; expected both");
}

// --- Files and the environment

TEST(Kubeconfig, IsReadFromItsFile) {
  const test_support::TemporaryDirectory folder;
  folder.Write("config", WithUser("tokenFile: t"));
  const dt::Result<ApiAccess> access = ReadKubeconfig(folder / "config", "");
  ASSERT_TRUE(access) << access.error().message;
  EXPECT_EQ(access->token.file, folder / "t");
}

TEST(Kubeconfig, SaysWhyItsFileCannotBeRead) {
  const test_support::TemporaryDirectory folder;
  const std::string missing = folder / "config";
  const dt::Result<ApiAccess> not_there = ReadKubeconfig(missing, "");
  ASSERT_FALSE(not_there);
  EXPECT_EQ(not_there.error().code, dt::ErrorCode::kNotFound);
  EXPECT_EQ(not_there.error().message,
            missing + ": No such file or directory; expected a kubeconfig");
  const dt::Result<ApiAccess> no_file = ReadKubeconfig(folder.path(), "");
  ASSERT_FALSE(no_file);
  EXPECT_EQ(no_file.error().code, dt::ErrorCode::kIo);
  EXPECT_EQ(no_file.error().message,
            folder.path().string() + ": Is a directory; expected a kubeconfig");
}

TEST(Kubeconfig, IsAtMostOneMebibyte) {
  const test_support::TemporaryDirectory folder;
  folder.Write("config", WithUser("token: t") + std::string(1 << 20, '\n'));
  const dt::Result<ApiAccess> access = ReadKubeconfig(folder / "config", "");
  ASSERT_FALSE(access);
  EXPECT_THAT(access.error().message, HasSubstr("/config: more than 1048576 bytes; expected a kubeconfig"));
}

TEST(Kubeconfig, InClusterAccessNamesTheServiceAccountsFiles) {
  const ApiAccess access = InClusterAccess("fd00::1", "443", "/sa");
  EXPECT_EQ(access.host, "fd00::1");
  EXPECT_EQ(access.port, "443");
  EXPECT_EQ(access.path_prefix, "");
  EXPECT_EQ(access.server_name, "fd00::1");
  EXPECT_FALSE(access.insecure_skip_tls_verify);
  EXPECT_EQ(access.certificate_authority.file, "/sa/ca.crt");
  EXPECT_EQ(access.token.file, "/sa/token");
  EXPECT_TRUE(access.client_certificate.empty() && access.client_key.empty());
}

// A process's environment without what FindApiAccess reads, given back at the end,
// and kubeconfigs that can be told apart by their token.
class FindApiAccessTest : public ::testing::Test {
 protected:
  FindApiAccessTest() {
    for (Variable& variable : variables_) {
      const char* value = std::getenv(variable.name);
      if (value != nullptr) variable.before = value;
      unsetenv(variable.name);
    }
    for (const char* file : {"flag", "one", "two", "home/.kube/config"}) {
      folder_.Write(file, WithUser("token: " + std::string(file)));
    }
  }
  ~FindApiAccessTest() override {
    for (const Variable& variable : variables_) {
      unsetenv(variable.name);
      if (variable.before) setenv(variable.name, variable.before->c_str(), 1);
    }
  }

  static void Set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }
  std::string Path(const char* name) const { return folder_ / name; }

  // The token that was found, or the file of one, or the error.
  static std::string Found(const std::string& file = "", const std::string& context = "") {
    const dt::Result<ApiAccess> access = FindApiAccess(file, context);
    if (!access) return access.error().message;
    return access->token.text + access->token.file;
  }

 private:
  struct Variable {
    const char* name;
    std::optional<std::string> before;
  };
  Variable variables_[4] = {{"KUBECONFIG", {}},
                            {"KUBERNETES_SERVICE_HOST", {}},
                            {"KUBERNETES_SERVICE_PORT", {}},
                            {"HOME", {}}};
  test_support::TemporaryDirectory folder_;
};

TEST_F(FindApiAccessTest, LooksAtTheFlagTheVariableThePodAndHome) {
  Set("HOME", Path("home"));
  EXPECT_EQ(Found(), "home/.kube/config");
  Set("KUBERNETES_SERVICE_HOST", "10.0.0.1");
  EXPECT_EQ(Found(), "home/.kube/config") << "a pod has a port too";
  Set("KUBERNETES_SERVICE_PORT", "443");
  EXPECT_EQ(Found(), "/var/run/secrets/kubernetes.io/serviceaccount/token");
  Set("KUBECONFIG", Path("one"));
  EXPECT_EQ(Found(), "one");
  EXPECT_EQ(Found(Path("flag")), "flag");
}

TEST_F(FindApiAccessTest, SaysAllThatItLookedFor) {
  EXPECT_EQ(Found(),
            "no way to the Kubernetes API: no --kubeconfig, no $KUBECONFIG, no "
            "$KUBERNETES_SERVICE_HOST and _PORT as in a pod, and no ~/.kube/config");
}

TEST_F(FindApiAccessTest, TakesOneFileOfTheVariable) {
  Set("KUBECONFIG", ":" + Path("missing") + ":" + Path("two") + ":");
  EXPECT_EQ(Found(), "two");
  const std::string several = Path("one") + ":" + Path("two");
  Set("KUBECONFIG", several);
  EXPECT_EQ(Found(), "$KUBECONFIG: " + several + ": several files; one expected");
}

TEST_F(FindApiAccessTest, DoesNotPassOverWhatWasAskedFor) {
  Set("HOME", Path("home"));
  Set("KUBECONFIG", Path("missing"));
  EXPECT_EQ(Found(), "$KUBECONFIG: " + Path("missing") + ": not there");
  EXPECT_THAT(Found(Path("missing")), StartsWith(Path("missing") + ": No such file"));
  EXPECT_THAT(Found(Path("flag"), "b"), HasSubstr("no context \"b\""));
}

TEST_F(FindApiAccessTest, FindsNoContextInAPod) {
  Set("KUBERNETES_SERVICE_HOST", "10.0.0.1");
  Set("KUBERNETES_SERVICE_PORT", "443");
  EXPECT_EQ(Found("", "b"),
            "context \"b\": a pod's service account has none; expected a kubeconfig");
}

}  // namespace
}  // namespace exporter
