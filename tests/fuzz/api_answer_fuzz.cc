// Whatever a server answers, one answer a line, each `STATUS BODY`: no crash, an end
// after a bounded number of requests, and no patch that could hit another Node than the
// one that was seen, create one, or hold a label outside the prefix that was not seen.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "exporter/sinks/kubernetes/api_messages.h"
#include "exporter/sinks/kubernetes/reconciler.h"

namespace {

using exporter::HttpRequest;
using exporter::HttpResponse;

// Reconcile() makes at most five attempts, each a look, an apply and an adoption.
constexpr int kMostRequests = 15;

class Server {
 public:
  explicit Server(std::string_view answers) : answers_(answers) {}

  HttpResponse Answer(const HttpRequest& request) {
    if (++requests_ > kMostRequests) std::abort();
    if (request.method == "PATCH") RequireGood(request);
    const std::string_view line = answers_.substr(0, answers_.find('\n'));
    answers_.remove_prefix(std::min(line.size() + 1, answers_.size()));
    HttpResponse response;
    const std::size_t space = std::min(line.find(' '), line.size());
    response.status = std::atoi(std::string(line.substr(0, space)).c_str());
    response.body = line.substr(std::min(space + 1, line.size()));
    if (response.status == 200) Remember(response.body);
    return response;
  }

 private:
  void Remember(const std::string& body) {
    const auto node = exporter::ParseNode(body);
    if (!node) return;
    uid_ = node->uid;
    for (const auto& [key, value] : node->labels) seen_.insert(key);
  }

  // A patch is a Node's metadata, but for its name where it is a merge patch.
  void RequireGood(const HttpRequest& request) const {
    if (request.target.find("/nodes/n?") == std::string::npos) std::abort();
    if (request.body.find("\"uid\":\"") == std::string::npos || uid_.empty()) std::abort();
    std::string whole = request.body;
    whole.insert(whole.find("\"uid\":"), R"("name":"n","resourceVersion":"1",)");
    const auto sent = exporter::ParseNode(whole);
    if (!sent || sent->uid != uid_) std::abort();
    for (const auto& [key, value] : sent->labels) {
      if (!key.starts_with("a.b/") && !seen_.contains(key)) std::abort();
    }
  }

  std::string_view answers_;
  std::string uid_;
  std::set<std::string> seen_;  // keys of the Node's labels
  int requests_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  exporter::Reconciler reconciler({"n", "a.b", /*force_conflicts=*/size % 2 == 0,
                                   /*adopt=*/size % 3 == 0});
  const exporter::WantedLabels wanted{{{"a.b/x", "1"}, {"a.b/y", "2"}}, size % 5 != 0};
  std::string_view answers(reinterpret_cast<const char*>(data), size);
  for (int round = 0; round < 3; ++round) {
    Server server(answers.substr(answers.size() * static_cast<std::size_t>(round) / 3));
    reconciler.Reconcile(
        wanted, [&](const HttpRequest& request) { return server.Answer(request); },
        std::chrono::steady_clock::time_point() + std::chrono::minutes(round));
  }
  return 0;
}
