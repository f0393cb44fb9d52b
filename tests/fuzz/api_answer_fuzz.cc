// Whatever a server answers, one answer a line, each `STATUS BODY`, again and again from
// the first: an end after a bounded number of requests, and no patch that could create a
// Node, hit another one than was shown, or change what is not ours. A first line of
// letters says how the labels are kept: y(ield), a(dopt), h(old: none may go), w(atch).
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "exporter/sinks/kubernetes/api_messages.h"
#include "exporter/sinks/kubernetes/reconciler.h"
#include "tests/fuzz/properties.h"

namespace {

using exporter::HttpRequest;
using exporter::HttpResponse;
using Json = nlohmann::json;

constexpr std::string_view kPrefix = "a.b/";
constexpr std::size_t kMostAnswers = 100;

// Five rounds: of a look, an apply and an adoption, or of a look and a removal.
constexpr int kMostOfReconcile = 15;
constexpr int kMostOfCleanUp = 10;

HttpResponse ToResponse(std::string_view line) {
  HttpResponse response;
  response.status = std::atoi(std::string(line.substr(0, 3)).c_str());
  response.body = line.substr(std::min<std::size_t>(4, line.size()));
  if (response.status == 0) response.error = response.body;
  return response;
}

const Json* Find(const Json& json, const std::vector<const char*>& path) {
  const Json* at = &json;
  for (const char* name : path) {
    if (!at->is_object() || !at->contains(name)) return nullptr;
    at = &(*at)[name];
  }
  return at;
}

// managedFields, without the labels under the prefix and what is then empty.
Json WithoutOurs(const Json& managed_fields) {
  Json rest = Json::array();
  for (Json entry : managed_fields) {
    if (Find(entry, {"fieldsV1", "f:metadata", "f:labels"}) != nullptr) {
      Json& metadata = entry["fieldsV1"]["f:metadata"];
      if (Json& labels = metadata["f:labels"]; labels.is_object()) {
        for (auto at = labels.begin(); at != labels.end();) {
          at = at.key().starts_with("f:" + std::string(kPrefix)) ? labels.erase(at) : ++at;
        }
        labels.erase(".");
      }
      if (metadata["f:labels"].empty()) metadata.erase("f:labels");
      if (metadata.empty()) entry["fieldsV1"].erase("f:metadata");
    }
    const Json* fields = Find(entry, {"fieldsV1"});
    if (fields != nullptr && !fields->empty()) rest.push_back(std::move(entry));
  }
  return rest;
}

class Server {
 public:
  Server(std::vector<HttpResponse> answers, exporter::Reconciler::Settings settings)
      : answers_(std::move(answers)), settings_(std::move(settings)) {}

  HttpResponse Answer(const HttpRequest& request) {
    ++requests_;
    const std::string path = "/api/v1/nodes/n";
    if (request.method == "GET") {
      fuzz::Require(request.target == path || request.target == path + "?resourceVersion=0",
                    "a GET is one of our Node", request.target);
    } else {
      fuzz::Require(request.method == "PATCH" && request.target.starts_with(path + "?"),
                    "all else is a PATCH of our Node", request.method + " " + request.target);
      RequireGood(request);
    }
    if (answers_.empty()) return {};
    const HttpResponse& response = answers_[next_++ % answers_.size()];
    if (response.status == 200) Remember(response.body);
    return response;
  }

  void Want(const exporter::LabelSet& labels) {
    wanted_.clear();
    for (const exporter::Label& label : labels) wanted_[label.key] = label.value;
  }
  void CleanUp() { cleaning_up_ = true; }
  int TakeRequests() { return std::exchange(requests_, 0); }

  // What stands in an answer, or came by a watch.
  void Remember(const std::string& body) {
    const Json json = Json::parse(body, nullptr, false);
    const Json* uid = Find(json, {"metadata", "uid"});
    const Json* version = Find(json, {"metadata", "resourceVersion"});
    const Json* name = Find(json, {"metadata", "name"});
    if (uid == nullptr || version == nullptr || name == nullptr || *name != "n") return;
    if (!uid->is_string() || !version->is_string() || *uid == "" || *version == "") return;
    shown_.push_back(json["metadata"]);
    const Json* labels = Find(json, {"metadata", "labels"});
    if (labels == nullptr || !labels->is_object()) return;
    for (const auto& [key, value] : labels->items()) {
      if (value.is_string()) shown_labels_.insert({key, value.get<std::string>()});
    }
  }

 private:
  void RequireGood(const HttpRequest& request) const {
    const Json body = Json::parse(request.body, nullptr, false);
    const Json* metadata = Find(body, {"metadata"});
    fuzz::Require(metadata != nullptr, "a patch is of metadata", request.body);
    fuzz::Require(std::ranges::all_of(request.body, [](char c) { return c >= ' ' && c < 0x7f; }),
                  "a patch is printable ASCII", request.body);
    fuzz::Require(std::ranges::any_of(
                      shown_, [&](const Json& node) { return node["uid"] == metadata->at("uid"); }),
                  "a patch is for a Node that was shown", request.body);
    if (request.content_type == "application/apply-patch+yaml") {
      RequireGoodApply(request, *metadata);
    } else {
      RequireGoodMerge(request, *metadata);
    }
  }

  void RequireGoodApply(const HttpRequest& request, const Json& metadata) const {
    fuzz::Require(!cleaning_up_, "a clean-up applies nothing", request.body);
    fuzz::Require(settings_.force_conflicts || request.target.ends_with("force=false"),
                  "nothing is forced where we are to yield", request.target);
    fuzz::Require(metadata.size() == 3 && metadata.at("name") == "n", "an apply is of labels alone",
                  request.body);
    for (const auto& [key, json] : metadata.at("labels").items()) {
      const std::string value = json.get<std::string>();
      const auto wanted = wanted_.find(key);
      fuzz::Require((wanted != wanted_.end() && wanted->second == value) ||
                        shown_labels_.contains({key, value}),
                    "an applied label is wanted, or was there", request.body);
    }
  }

  void RequireGoodMerge(const HttpRequest& request, const Json& metadata) const {
    fuzz::Require(request.content_type == "application/merge-patch+json", "a patch's type is known",
                  request.content_type);
    fuzz::Require(cleaning_up_ || settings_.adopt, "only who is told removes what is of others",
                  request.body);
    if (const Json* labels = Find(metadata, {"labels"})) {
      for (const auto& [key, value] : labels->items()) {
        fuzz::Require(value.is_null() && key.starts_with(kPrefix),
                      "a merge patch removes labels under the prefix", request.body);
        fuzz::Require(cleaning_up_ || !wanted_.contains(key), "no wanted label is removed",
                      request.body);
      }
    }
    if (!metadata.contains("managedFields")) return;
    const Json rest = WithoutOurs(metadata.at("managedFields"));
    fuzz::Require(
        std::ranges::any_of(shown_,
                            [&](const Json& node) {
                              return node["uid"] == metadata.at("uid") &&
                                     node["resourceVersion"] == metadata.at("resourceVersion") &&
                                     WithoutOurs(node.value("managedFields", Json())) == rest;
                            }),
        "owners are changed under the prefix alone, of a Node as it was shown", request.body);
  }

  const std::vector<HttpResponse> answers_;
  const exporter::Reconciler::Settings settings_;
  std::map<std::string, std::string> wanted_;
  std::vector<Json> shown_;  // metadata of our Node
  std::set<std::pair<std::string, std::string>> shown_labels_;
  bool cleaning_up_ = false;
  std::size_t next_ = 0;
  int requests_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string_view how;
  std::vector<HttpResponse> answers;
  while (!text.empty() && answers.size() < kMostAnswers) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const bool is_first = answers.empty() && how.empty();
    if (is_first && !line.empty() && line[0] >= 'a' && line[0] <= 'z') {
      how = line;
    } else {
      answers.push_back(ToResponse(line));
    }
  }
  const auto is = [how](char letter) { return how.find(letter) != std::string_view::npos; };
  const exporter::Reconciler::Settings settings{
      .node = "n", .prefix = "a.b", .force_conflicts = !is('y'), .adopt = is('a')};
  Server server(answers, settings);
  const exporter::Reconciler::Send send = [&](const HttpRequest& request) {
    return server.Answer(request);
  };
  std::optional<exporter::NodeMetadata> seen;
  if (is('w') && !answers.empty()) seen = exporter::ParseNode(answers[0].body);
  if (seen) server.Remember(answers[0].body);

  const std::vector<exporter::LabelSet> sets = {
      {{"a.b/x", "1"}, {"a.b/y", "2"}}, {{"a.b/y", "2"}}, {{"a.b/x", "3"}, {"a.b/z", "1"}}, {}};
  exporter::Reconciler reconciler(settings);
  for (std::size_t round = 0; round < 8; ++round) {
    const exporter::WantedLabels wanted{sets[round / 2], !is('h') || round > 3};
    server.Want(wanted.labels);
    const exporter::Outcome outcome = reconciler.Reconcile(
        wanted, send, std::chrono::steady_clock::time_point() + std::chrono::minutes(10 * round),
        seen);
    fuzz::Require(server.TakeRequests() <= kMostOfReconcile, "an attempt ends", outcome.error);
    const exporter::SinkReport report = reconciler.Report(wanted);
    fuzz::Require(
        report.labels.size() == wanted.labels.size() && report.yielded <= wanted.labels.size(),
        "the report is of the wanted labels", outcome.error);
    fuzz::Require(report.conflicts.size() <= 21, "managers are not counted without end",
                  outcome.error);
  }
  server.CleanUp();
  const exporter::Outcome outcome = reconciler.CleanUp(send);
  fuzz::Require(server.TakeRequests() <= kMostOfCleanUp, "a clean-up ends", outcome.error);
  return 0;
}
