// The rules of the Kubernetes label sink, against a model of the API server. What the
// model does was compared with a kube-apiserver 1.36; so were the refusals' bodies.
#include "exporter/sinks/kubernetes/reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <string_view>
#include <utility>
#include <vector>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Clock = Reconciler::Clock;
using Json = nlohmann::json;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr const char* kNodeName = "edge-1";
constexpr const char* kPrefix = "beta.devicetree.org";

constexpr const char* kBoard = "beta.devicetree.org/acme-board";
constexpr const char* kNpu = "beta.devicetree.org/acme-npu";
constexpr const char* kGpu = "beta.devicetree.org/acme-gpu";
constexpr const char* kOutside = "example.com/zone";
constexpr const char* kAlike = "beta.devicetree.org.example/acme-npu";  // outside too

// No attempt needs more: five rounds of a GET, an apply and a merge patch.
constexpr std::size_t kMostRequests = 15;

using Labels = std::vector<Label>;
using Keys = std::set<std::string, std::less<>>;

bool IsUnderPrefix(std::string_view key) { return key.starts_with("beta.devicetree.org/"); }

std::optional<std::string> ValueOf(const LabelMap& labels, std::string_view key) {
  const auto found = labels.find(key);
  if (found == labels.end()) return std::nullopt;
  return found->second;
}

// Who holds a label: a field manager, and whether by apply or by update.
struct Owner {
  std::string manager;
  bool by_apply;

  friend auto operator<=>(const Owner&, const Owner&) = default;
};

const Owner kUs{kFieldManager, true};

struct Node {
  std::string uid;
  int version = 0;
  LabelMap labels;
  std::map<Owner, Keys> owners;

  bool Owns(const Owner& owner, std::string_view key) const {
    const auto found = owners.find(owner);
    return found != owners.end() && found->second.contains(key);
  }
  bool OthersOwn(std::string_view key) const {
    return std::ranges::any_of(owners, [&](const auto& entry) {
      return entry.first != Owner{kFieldManager, true} && entry.second.contains(key);
    });
  }
  bool Holds(std::string_view key, const std::string& value) const {
    return ValueOf(labels, key) == value;
  }
};

// A kube-apiserver with at most one Node, of which there are only the labels.
class ApiServer {
 public:
  // A Node as a kubelet registers it, with these labels.
  void Create(const LabelMap& labels = {{"kubernetes.io/os", "linux"}}) {
    node_ = Node{"uid-" + std::to_string(++created_), 0, {}, {}};
    Write("kubelet", labels);
  }
  void Delete() { node_.reset(); }

  const std::optional<Node>& node() const { return node_; }
  LabelMap labels() const { return node_ ? node_->labels : LabelMap(); }
  // As a watch shows it.
  NodeMetadata seen() const { return ParseNode(ToJson(*node_)).value(); }

  // As `kubectl label` does, and all that do not use server-side apply.
  void Write(const std::string& manager, const LabelMap& labels) {
    Change([&](Node* node) {
      for (const auto& [key, value] : labels) {
        if (node->Holds(key, value)) continue;
        Disown(key, node);
        node->labels[key] = value;
        node->owners[{manager, false}].insert(key);
      }
    });
  }
  void Label(const std::string& key, const std::string& value) {
    Write("kubectl-label", {{key, value}});
  }
  void Unlabel(const std::string& key) {
    Change([&](Node* node) {
      node->labels.erase(key);
      Disown(key, node);
    });
  }

  // Server-side apply. Gives the conflicts, for which it does nothing unless force.
  std::vector<std::pair<std::string, Owner>> Apply(const std::string& manager,
                                                   const LabelMap& labels, bool force) {
    const Owner applier{manager, true};
    std::vector<std::pair<std::string, Owner>> conflicts;
    for (const auto& [owner, keys] : node_->owners) {
      for (const std::string& key : keys) {
        if (owner != applier && labels.contains(key) && !node_->Holds(key, labels.at(key))) {
          conflicts.emplace_back(key, owner);
        }
      }
    }
    if (!conflicts.empty() && !force) return conflicts;
    Change([&](Node* node) {
      for (const auto& [key, owner] : conflicts) node->owners[owner].erase(key);
      const Keys before = std::exchange(node->owners[applier], {});
      for (const auto& [key, value] : labels) {
        node->labels[key] = value;
        node->owners[applier].insert(key);
      }
      for (const std::string& key : before) {
        const bool held = std::ranges::any_of(
            node->owners, [&](const auto& entry) { return entry.second.contains(key); });
        if (!held) node->labels.erase(key);
      }
    });
    return {};
  }

  // From now on reads through the cache show the Node as it is now.
  void FreezeCache() { cached_ = node_; }
  void ThawCache() { cached_.reset(); }

  // The next requests of this method get these answers, and nothing happens.
  void Script(const std::string& method, std::vector<HttpResponse> answers) {
    scripted_[method] = {answers.begin(), answers.end()};
  }
  // Happens before each patch is answered.
  std::function<void()> before_patch = [] {};

  HttpResponse Answer(const HttpRequest& request) {
    RequireLawful(request);
    requests_.push_back(request);
    if (request.method == "PATCH") before_patch();
    std::deque<HttpResponse>& scripted = scripted_[request.method];
    if (!scripted.empty()) {
      const HttpResponse response = scripted.front();
      scripted.pop_front();
      return response;
    }
    if (request.method == "GET") {
      const bool cached = request.target.ends_with("?resourceVersion=0");
      return Show(cached && cached_ ? cached_ : node_);
    }
    return AnswerPatch(request, Json::parse(request.body)["metadata"]);
  }

  // What was asked since the last call, in short.
  std::vector<std::string> TakeRequests() {
    std::vector<std::string> all;
    for (const HttpRequest& request : std::exchange(requests_, {})) {
      const bool forced = request.target.find("&force=true") != std::string::npos;
      if (request.method == "GET") {
        all.push_back("get");
      } else if (request.content_type == "application/merge-patch+json") {
        all.push_back("merge");
      } else {
        all.push_back(forced ? "apply force" : "apply");
      }
    }
    return all;
  }
  // Of these, the patches.
  std::vector<std::string> TakePatches() {
    std::vector<std::string> all = TakeRequests();
    std::erase(all, "get");
    return all;
  }
  const HttpRequest& last_request() const { return requests_.back(); }
  std::size_t request_count() const { return requests_.size(); }
  // The Node as the last answer showed it; none if that was no Node.
  const std::optional<Node>& shown() const { return shown_; }

 private:
  static void Disown(const std::string& key, Node* node) {
    for (auto& [owner, keys] : node->owners) keys.erase(key);
  }

  // The version moves on only if something changes.
  void Change(const std::function<void(Node*)>& change) {
    Node changed = *node_;
    change(&changed);
    std::erase_if(changed.owners, [](const auto& entry) { return entry.second.empty(); });
    if (changed.labels == node_->labels && changed.owners == node_->owners) return;
    changed.version = ++version_;
    node_ = std::move(changed);
  }

  // What holds of every request, whatever the test is about.
  static void RequireLawful(const HttpRequest& request) {
    const std::string path = "/api/v1/nodes/edge-1";
    ASSERT_EQ(request.target.substr(0, request.target.find('?')), path);
    ASSERT_EQ(request.accept,
              "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");
    if (request.method == "GET") {
      ASSERT_TRUE(request.target == path || request.target == path + "?resourceVersion=0");
      ASSERT_TRUE(request.body.empty() && request.content_type.empty());
      return;
    }
    ASSERT_EQ(request.method, "PATCH");
    ASSERT_THAT(request.target, HasSubstr("fieldManager=devicetree-exporter"));
    ASSERT_THAT(request.target, HasSubstr("fieldValidation=Strict"));
    const bool is_apply = request.content_type == "application/apply-patch+yaml";
    ASSERT_TRUE(is_apply || request.content_type == "application/merge-patch+json");
    ASSERT_EQ(is_apply, request.target.find("force=") != std::string::npos) << request.target;
    const Json body = Json::parse(request.body, nullptr, false);
    ASSERT_TRUE(body.is_object()) << request.body;
    Keys members;
    for (const auto& [name, value] : body["metadata"].items()) members.insert(name);
    ASSERT_FALSE(body["metadata"]["uid"].get<std::string>().empty());
    if (is_apply) {
      ASSERT_EQ(members, Keys({"labels", "name", "uid"}));
      ASSERT_EQ(body.size(), 3U) << request.body;
      return;
    }
    // A version is needed where the owners are written anew, and nowhere else.
    ASSERT_EQ(members.erase("managedFields"), members.erase("resourceVersion"));
    members.insert("labels");
    ASSERT_EQ(members, Keys({"labels", "uid"}));
    ASSERT_EQ(body.size(), 1U) << request.body;
  }

  HttpResponse AnswerPatch(const HttpRequest& request, const Json& metadata) {
    const bool is_apply = request.content_type == "application/apply-patch+yaml";
    if (!node_) {
      return is_apply ? Refusal(409, "Conflict",
                                "Operation cannot be fulfilled on nodes \"edge-1\": uid mismatch: "
                                "the provided object specified uid, and no existing object was "
                                "found")
                      : NotFound();
    }
    if (metadata["uid"] != node_->uid) {
      const Json cause = {{"reason", "FieldValueInvalid"},
                          {"message", "Invalid value: \"x\": field is immutable"},
                          {"field", "metadata.uid"}};
      return Refusal(422, "Invalid", "metadata.uid: field is immutable", {cause, cause});
    }
    return is_apply ? AnswerApply(request, metadata) : AnswerMerge(metadata);
  }

  HttpResponse AnswerMerge(const Json& metadata) {
    if (metadata.contains("resourceVersion") &&
        metadata["resourceVersion"] != std::to_string(node_->version)) {
      return Refusal(409, "Conflict",
                     "Operation cannot be fulfilled on nodes \"edge-1\": the object has been "
                     "modified; please apply your changes to the latest version and try again");
    }
    const Json labels = metadata.value("labels", Json::object());
    Change([&](Node* node) {
      if (metadata.contains("managedFields")) node->owners = ToOwners(metadata["managedFields"]);
      for (const auto& [key, value] : labels.items()) {
        EXPECT_TRUE(value.is_null()) << "a merge patch is for removal only";
        node->labels.erase(key);
        Disown(key, node);
      }
    });
    return Show(node_);
  }

  HttpResponse AnswerApply(const HttpRequest& request, const Json& metadata) {
    const auto labels = metadata["labels"].get<LabelMap>();
    Json invalid = Json::array();
    for (const auto& [key, value] : labels) {
      if (value.find(' ') == std::string::npos) continue;
      invalid.push_back({{"reason", "FieldValueInvalid"},
                         {"message", "Invalid value: \"" + value +
                                         "\": a valid label must be an empty string or consist of "
                                         "alphanumeric characters (e.g. 'MyValue',  or '12345')"},
                         {"field", "metadata.labels"}});
    }
    if (!invalid.empty()) {
      // The real one says each thing four times.
      Json causes = invalid;
      for (int i = 0; i < 3; ++i) causes.insert(causes.end(), invalid.begin(), invalid.end());
      return Refusal(422, "Invalid", "Node \"edge-1\" is invalid", causes);
    }
    const bool force = request.target.find("force=true") != std::string::npos;
    Json causes = Json::array();
    for (const auto& [key, owner] : Apply(kFieldManager, labels, force)) {
      causes.push_back({{"reason", "FieldManagerConflict"},
                        {"message", "conflict with \"" + owner.manager + '"' +
                                        (owner.by_apply ? "" : " using v1")},
                        {"field", ".metadata.labels." + key}});
    }
    if (force || causes.empty()) return Show(node_);
    return Refusal(409, "Conflict", "Apply failed with conflicts", causes);
  }

  static std::map<Owner, Keys> ToOwners(const Json& managed_fields) {
    std::map<Owner, Keys> owners;
    for (const Json& entry : managed_fields) {
      const Owner owner{entry.at("manager"), entry.at("operation") == "Apply"};
      for (const auto& [field, value] : entry["fieldsV1"]["f:metadata"]["f:labels"].items()) {
        if (field != ".") owners[owner].insert(field.substr(2));
      }
    }
    return owners;
  }

  HttpResponse Show(const std::optional<Node>& node) {
    shown_ = node;
    return node ? HttpResponse{.status = 200, .body = ToJson(*node)} : NotFound();
  }

  static HttpResponse NotFound() { return Refusal(404, "NotFound", "nodes \"edge-1\" not found"); }

  static HttpResponse Refusal(int status, const std::string& reason, const std::string& message,
                              const Json& causes = Json::array()) {
    Json body = {{"kind", "Status"},
                 {"apiVersion", "v1"},
                 {"metadata", Json::object()},
                 {"status", "Failure"},
                 {"message", message},
                 {"reason", reason},
                 {"code", status},
                 {"details", {{"name", kNodeName}, {"kind", "nodes"}}}};
    if (!causes.empty()) body["details"]["causes"] = causes;
    return {.status = status, .body = body.dump()};
  }

  static std::string ToJson(const Node& node) {
    Json metadata = {
        {"name", kNodeName}, {"uid", node.uid}, {"resourceVersion", std::to_string(node.version)}};
    if (!node.labels.empty()) metadata["labels"] = node.labels;
    for (const auto& [owner, keys] : node.owners) {
      Json fields = Json::object();
      if (!owner.by_apply) fields["."] = Json::object();
      for (const std::string& key : keys) fields["f:" + key] = Json::object();
      metadata["managedFields"].push_back({{"manager", owner.manager},
                                           {"operation", owner.by_apply ? "Apply" : "Update"},
                                           {"apiVersion", "v1"},
                                           {"fieldsType", "FieldsV1"},
                                           {"fieldsV1", {{"f:metadata", {{"f:labels", fields}}}}}});
    }
    return Json{
        {"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", metadata}}
        .dump();
  }

  std::optional<Node> node_;
  std::optional<Node> cached_;
  std::optional<Node> shown_;
  int version_ = 97;  // so that it soon has a digit more
  int created_ = 0;
  std::map<std::string, std::deque<HttpResponse>> scripted_;
  std::vector<HttpRequest> requests_;
};

// A Node, who labels it, and a clock.
struct World {
  explicit World(const Reconciler::Settings& settings = {}) : reconciler(WithNames(settings)) {
    server.Create();
  }

  static Reconciler::Settings WithNames(Reconciler::Settings settings) {
    settings.node = kNodeName;
    settings.prefix = kPrefix;
    return settings;
  }

  Outcome Reconcile(const Labels& labels, bool may_remove = true,
                    std::optional<NodeMetadata> seen = std::nullopt) {
    wanted = {labels, may_remove};
    return reconciler.Reconcile(wanted, send(), now, std::move(seen));
  }
  Outcome CleanUp() { return reconciler.CleanUp(send()); }
  SinkReport Report() const { return reconciler.Report(wanted); }
  std::vector<bool> Applied() const {
    std::vector<bool> applied;
    for (const SinkReport::AppliedLabel& label : Report().labels) applied.push_back(label.applied);
    return applied;
  }

  Reconciler::Send send() {
    return [this](const HttpRequest& request) { return server.Answer(request); };
  }

  ApiServer server;
  Reconciler reconciler;
  Clock::time_point now{hours(1000)};
  WantedLabels wanted;
};

const Reconciler::Settings kForce{};
const Reconciler::Settings kYield{.force_conflicts = false};
const Reconciler::Settings kAdopt{.adopt = true};

// An answer of the real server, shortened.
const HttpResponse kMissingRight{
    .status = 403,
    .body =
        R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
        R"("message":"nodes \"edge-1\" is forbidden: User \"system:serviceaccount:a:b\" cannot )"
        R"(patch resource \"nodes\" in API group \"\" at the cluster scope",)"
        R"("reason":"Forbidden","details":{"name":"edge-1","kind":"nodes"},"code":403})"};

HttpResponse PolicyRefusal(int status, const std::string& reason) {
  const std::string words =
      R"(ValidatingAdmissionPolicy 'fence' with binding 'fence' denied request: not \"1\")";
  return {.status = status,
          .body = R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
                  R"("message":"nodes \"edge-1\" is forbidden: )" +
                  words + R"(","reason":")" + reason +
                  R"(","details":{"name":"edge-1","kind":"nodes","causes":[{"message":")" + words +
                  R"("}]}})"};
}

HttpResponse UidMismatch() {
  return {.status = 409,
          .body = R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
                  R"("message":"Operation cannot be fulfilled on nodes \"edge-1\": uid mismatch: )"
                  R"(the provided object specified uid u, and no existing object was found",)"
                  R"("reason":"Conflict","details":{"name":"edge-1","kind":"nodes"},"code":409})"};
}

HttpResponse InvalidLabel(const std::string& quoted) {
  return {.status = 422,
          .body = R"({"kind":"Status","status":"Failure","message":"Node \"edge-1\" is invalid",)"
                  R"("reason":"Invalid","details":{"name":"edge-1","kind":"Node","causes":[{)"
                  R"("reason":"FieldValueInvalid","message":"Invalid value: \")" +
                  quoted + R"(\": no","field":"metadata.labels"}]},"code":422})"};
}

const HttpResponse kNoNetwork{
    .status = 0, .failure = ApplyFailure::kNetwork, .error = "connection refused"};

// --- What is asked, and how -------------------------------------------------------

TEST(Reconciler, SetsWhatIsMissing) {
  World world;
  EXPECT_EQ(world.Reconcile({{kBoard, "1"}, {kNpu, "1"}}).failure, std::nullopt);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply"));
  EXPECT_EQ(world.server.labels(),
            (LabelMap{{kBoard, "1"}, {kNpu, "1"}, {"kubernetes.io/os", "linux"}}));
  EXPECT_EQ(world.reconciler.applies(), 1U);
}

TEST(Reconciler, AppliesTheLabelsUnderItsManagerWithTheNodesUid) {
  World world;
  world.Reconcile({{kNpu, "1"}, {kBoard, "2"}});
  const HttpRequest& request = world.server.last_request();
  EXPECT_EQ(request.method, "PATCH");
  EXPECT_EQ(request.content_type, "application/apply-patch+yaml");
  EXPECT_THAT(request.target, ::testing::StartsWith("/api/v1/nodes/edge-1?"));
  EXPECT_THAT(request.target, HasSubstr("fieldManager=devicetree-exporter"));
  EXPECT_THAT(request.target, HasSubstr("force=false"));
  EXPECT_EQ(request.body,
            R"({"apiVersion":"v1","kind":"Node","metadata":{"labels":{)"
            R"("beta.devicetree.org/acme-board":"2","beta.devicetree.org/acme-npu":"1"},)"
            R"("name":"edge-1","uid":"uid-1"}})");
}

TEST(Reconciler, LooksOnceIntoTheCacheAndChangesNothingWhenAllIsRight) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.server.TakeRequests();
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
  EXPECT_TRUE(world.server.last_request().target.ends_with("?resourceVersion=0"));
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, ChangesNothingAfterARestart) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  const int version = world.server.node()->version;
  Reconciler restarted(World::WithNames({}));
  world.server.TakeRequests();
  restarted.Reconcile({{{kNpu, "1"}}}, world.send(), world.now);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
  EXPECT_EQ(world.server.node()->version, version);
}

TEST(Reconciler, AsksForNothingWhereNothingIsWantedAndNothingIsThere) {
  World world;
  EXPECT_EQ(world.Reconcile({}).failure, std::nullopt);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, RemovesWhatIsNoLongerWanted) {
  World world;
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  world.server.TakeRequests();
  world.Reconcile({{kBoard, "1"}});
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply"));
  EXPECT_EQ(world.server.labels(), (LabelMap{{kBoard, "1"}, {"kubernetes.io/os", "linux"}}));
  world.Reconcile({});
  EXPECT_EQ(world.server.labels(), (LabelMap{{"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, RemovesWhatAnEarlierRunLeft) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  Reconciler restarted(World::WithNames({}));
  restarted.Reconcile({{{kBoard, "1"}}}, world.send(), world.now);
  EXPECT_EQ(world.server.labels(), (LabelMap{{kBoard, "1"}, {"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, ChangesAValue) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.Reconcile({{kNpu, "2"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "2"));
  EXPECT_EQ(world.Report().repairs, 0U);  // nobody else had touched it
}

TEST(Reconciler, HoldsAnEqualLabelOfAnotherTogetherWithIt) {
  World world;
  world.server.Apply("other-applier", {{kNpu, "1"}}, false);
  EXPECT_THAT(world.Reconcile({{kNpu, "1"}}).news, IsEmpty());
  EXPECT_TRUE(world.server.node()->Owns(kUs, kNpu));
  EXPECT_TRUE(world.server.node()->Owns({"other-applier", true}, kNpu));
  // When we drop it, the other still has it.
  world.Reconcile({});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  world.server.TakeRequests();
  world.Reconcile({});
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

// --- What the cache and a watch show ----------------------------------------------

TEST(Reconciler, ReadsPastACacheThatShowsLessThanItKnows) {
  World world;
  world.server.FreezeCache();
  world.Reconcile({{kNpu, "1"}});
  world.server.TakeRequests();
  world.Reconcile({{kNpu, "1"}});  // the cache knows nothing of the apply
  EXPECT_EQ(world.server.last_request().target, "/api/v1/nodes/edge-1");
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get", "get"));
}

TEST(Reconciler, ComparesVersionsAsNumbers) {
  World world;  // 98
  world.server.FreezeCache();
  world.server.Label(kOutside, "a");  // 99
  world.Reconcile({{kNpu, "1"}});     // 100
  world.server.TakeRequests();
  world.Reconcile({{kNpu, "1"}});
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get", "get"));
}

TEST(Reconciler, TakesWhatAWatchShowsForARead) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.server.TakeRequests();
  world.Reconcile({{kNpu, "1"}}, true, world.server.seen());
  EXPECT_THAT(world.server.TakeRequests(), IsEmpty());
  world.server.Unlabel(kNpu);
  world.Reconcile({{kNpu, "1"}}, true, world.server.seen());
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply"));
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

TEST(Reconciler, ReadsPastAWatchThatShowsLessThanItKnows) {
  World world;
  const NodeMetadata before = world.server.seen();
  world.Reconcile({{kNpu, "1"}});
  world.server.TakeRequests();
  world.Reconcile({{kNpu, "1"}}, true, before);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, ReadsPastAWatchThatShowsANodeThatIsGone) {
  World world;
  const NodeMetadata before = world.server.seen();
  world.server.Delete();
  world.server.Create();
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}, true, before).failure, std::nullopt);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

// A Node was created anew and labelled, which the server's cache does not know: it
// shows the one before as it was with `before`.
World WithACacheThatShowsTheNodeBefore(const Labels& before) {
  World world;
  world.Reconcile(before);
  world.server.FreezeCache();
  world.Reconcile({{kNpu, "1"}});
  world.server.Delete();
  world.server.Create();
  world.Reconcile({{kNpu, "1"}}, true, world.server.seen());
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  return world;
}

TEST(Reconciler, ReadsPastACacheThatShowsANodeThatIsGone) {
  World world = WithACacheThatShowsTheNodeBefore({{kNpu, "1"}});
  world.server.Unlabel(kNpu);
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

TEST(Reconciler, ForgetsNoRepairsForACacheThatShowsANodeThatIsGone) {
  World world = WithACacheThatShowsTheNodeBefore({});
  for (int i = 0; i < 10; ++i) {
    world.now += minutes(1);
    world.server.Unlabel(kNpu);
    world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(world.server.node()->Holds(kNpu, "1"), i < 3) << i;
  }
}

TEST(Reconciler, DoesNotTakeAnotherNodeForItsOwn) {
  World world;
  NodeMetadata other = world.server.seen();
  other.name = "edge-2";
  other.uid = "uid-of-edge-2";
  other.labels[kNpu] = "1";
  other.owned.insert(kNpu);
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}, true, other).failure, std::nullopt);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

// --- The prefix -------------------------------------------------------------------

TEST(Reconciler, LeavesLabelsOfOthersUnderThePrefix) {
  World world;
  world.server.Label(kGpu, "x");
  world.server.TakeRequests();
  world.Reconcile({});
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
  world.Reconcile({{kNpu, "1"}});
  world.Reconcile({});
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "x"));
}

TEST(Reconciler, KeepsWhatItsManagerHoldsOutsideThePrefix) {
  // As after a change of the prefix: to drop them would remove them.
  World world;
  world.server.Apply(kFieldManager, {{kOutside, "a"}, {kAlike, "1"}}, false);
  world.Reconcile({{kNpu, "1"}});
  const LabelMap expected = {
      {kOutside, "a"}, {kAlike, "1"}, {kNpu, "1"}, {"kubernetes.io/os", "linux"}};
  EXPECT_EQ(world.server.labels(), expected);
  world.Reconcile({});
  EXPECT_TRUE(world.server.node()->Holds(kOutside, "a"));
  EXPECT_TRUE(world.server.node()->Holds(kAlike, "1"));
  // What another has made of them since stays too.
  world.server.Label(kOutside, "b");
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kOutside, "b"));
  world.server.Unlabel(kAlike);
  world.Reconcile({});
  EXPECT_EQ(ValueOf(world.server.labels(), kAlike), std::nullopt);
}

TEST(Reconciler, LosesNoLabelOutsideThePrefixToAStaleCache) {
  World world;
  world.server.FreezeCache();
  world.server.Apply(kFieldManager, {{kOutside, "a"}}, false);
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kOutside, "a"));
}

// --- Refusals and failures --------------------------------------------------------

struct FailureCase {
  HttpResponse response;
  ApplyFailure failure;
  const char* error;
};

std::vector<FailureCase> FailureCases() {
  return {
      {{.status = 401, .body = R"({"kind":"Status","message":"Unauthorized","code":401})"},
       ApplyFailure::kUnauthorized,
       "answer 401: Unauthorized"},
      {kMissingRight, ApplyFailure::kForbidden,
       "answer 403: nodes \"edge-1\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch "
       "resource \"nodes\" in API group \"\" at the cluster scope"},
      {PolicyRefusal(403, "Forbidden"), ApplyFailure::kForbidden,
       "answer 403: nodes \"edge-1\" is forbidden: ValidatingAdmissionPolicy 'fence' with binding "
       "'fence' denied request: not \"1\""},
      {PolicyRefusal(422, "Invalid"), ApplyFailure::kInvalid,
       "answer 422: nodes \"edge-1\" is forbidden: ValidatingAdmissionPolicy 'fence' with binding "
       "'fence' denied request: not \"1\""},
      {InvalidLabel("nothing of ours"), ApplyFailure::kInvalid,
       "answer 422: Node \"edge-1\" is invalid"},
      {{.status = 404, .body = R"({"message":"nodes \"edge-1\" not found","code":404})"},
       ApplyFailure::kNotFound,
       "answer 404: nodes \"edge-1\" not found"},
      {{.status = 409, .body = R"({"message":"m","reason":"AlreadyExists","code":409})"},
       ApplyFailure::kConflict,
       "answer 409: m"},
      {{.status = 429, .body = "Too many requests.", .retry_after = seconds(7)},
       ApplyFailure::kThrottled,
       "answer 429: Too many requests."},
      {{.status = 400, .body = R"({"message":"bad","reason":"BadRequest"})"},
       ApplyFailure::kInvalid,
       "answer 400: bad"},
      {{.status = 500, .body = R"({"message":"etcdserver: request timed out"})"},
       ApplyFailure::kServerError,
       "answer 500: etcdserver: request timed out"},
      {{.status = 503, .body = "", .retry_after = seconds(1)},
       ApplyFailure::kServerError,
       "answer 503: "},
      {{.status = 302, .body = "<html>"}, ApplyFailure::kServerError, "answer 302: <html>"},
      {{.status = 200, .body = "<html>a portal</html>"},
       ApplyFailure::kServerError,
       "answer 200, which is not the Node's metadata"},
      {{.status = 200, .body = R"({"metadata":{"name":"b","uid":"u","resourceVersion":"1"}})"},
       ApplyFailure::kServerError,
       "answer 200, which is not the Node's metadata"},
      {kNoNetwork, ApplyFailure::kNetwork, "connection refused"},
      {{.status = 0, .failure = ApplyFailure::kTls, .error = "certificate has expired"},
       ApplyFailure::kTls,
       "certificate has expired"},
      {{.status = 0, .failure = ApplyFailure::kTimeout, .error = "no answer in time"},
       ApplyFailure::kTimeout,
       "no answer in time"},
  };
}

TEST(Reconciler, EndsTheAttemptWhereAReadFails) {
  for (const FailureCase& c : FailureCases()) {
    World world;
    world.server.Script("GET", {c.response});
    const Outcome outcome = world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(outcome.failure, c.failure) << c.error;
    EXPECT_EQ(outcome.error, c.error);
    EXPECT_EQ(outcome.retry_after, c.response.retry_after);
    EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get")) << c.error;
  }
}

TEST(Reconciler, EndsTheAttemptWhereAnApplyFails) {
  for (const FailureCase& c : FailureCases()) {
    World world;
    world.server.Script("PATCH", {c.response});
    const Outcome outcome = world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(outcome.failure, c.failure) << c.error;
    EXPECT_EQ(outcome.error, c.error);
    EXPECT_EQ(outcome.retry_after, c.response.retry_after);
    EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply")) << c.error;
    EXPECT_EQ(world.reconciler.applies(), 0U);
    // The next attempt starts anew, and nothing is left out for it.
    EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
    EXPECT_TRUE(world.server.node()->Holds(kNpu, "1")) << c.error;
  }
}

TEST(Reconciler, WaitsForANodeThatIsNotThereYet) {
  World world;
  world.server.Delete();
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, ApplyFailure::kNotFound);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));  // never creates it
  world.server.Create();
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
}

TEST(Reconciler, NeverCreatesANodeThatGoesWhileItIsLabelled) {
  World world;
  world.server.before_patch = [&] { world.server.Delete(); };
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, ApplyFailure::kNotFound);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply"));
  EXPECT_EQ(world.server.node(), std::nullopt);
}

TEST(Reconciler, LabelsTheNodeThatWasCreatedAnewMeanwhile) {
  World world;
  bool done = false;
  world.server.before_patch = [&] {
    if (std::exchange(done, true)) return;
    world.server.Delete();
    world.server.Create();
  };
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply", "apply"));
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

TEST(Reconciler, GivesUpAfterFiveRounds) {
  World world;
  world.server.Script("PATCH", std::vector<HttpResponse>(20, UidMismatch()));
  const Outcome outcome = world.Reconcile({{kNpu, "1"}});
  EXPECT_EQ(outcome.failure, ApplyFailure::kConflict);
  EXPECT_EQ(outcome.error, "the Node changed during each of 5 attempts");
  EXPECT_LE(world.server.TakeRequests().size(), 10U);
}

TEST(Reconciler, GivesUpOnAConflictThatForceDoesNotEnd) {
  World world;
  const HttpResponse conflict{
      .status = 409,
      .body = R"({"reason":"Conflict","details":{"causes":[{"reason":"FieldManagerConflict",)"
              R"("message":"conflict with \"a\" using v1",)"
              R"("field":".metadata.labels.beta.devicetree.org/acme-npu"}]}})"};
  world.server.Script("PATCH", std::vector<HttpResponse>(20, conflict));
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, ApplyFailure::kConflict);
  EXPECT_LE(world.server.TakeRequests().size(), 10U);
}

// --- Labels that the server calls invalid -----------------------------------------

TEST(Reconciler, LeavesOutALabelThatIsRefusedAndAppliesTheRest) {
  World world;
  const Outcome outcome = world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}, {kGpu, "1"}});
  EXPECT_EQ(outcome.failure, std::nullopt);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply", "apply"));
  EXPECT_EQ(world.server.labels(),
            (LabelMap{{kBoard, "1"}, {kGpu, "1"}, {"kubernetes.io/os", "linux"}}));
  EXPECT_THAT(world.Applied(), ElementsAre(true, false, true));
  ASSERT_THAT(outcome.news, SizeIs(1));
  EXPECT_THAT(outcome.news[0], HasSubstr(kNpu));
  EXPECT_THAT(outcome.news[0], HasSubstr("Invalid value: \"not valid\""));
}

TEST(Reconciler, CountsALabelThatIsRefusedOnce) {
  World world;
  world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}, {kGpu, "1"}});
  world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}, {kGpu, "1"}});
  EXPECT_EQ(world.Report().failures[static_cast<std::size_t>(ApplyFailure::kInvalid)], 1U);
}

TEST(Reconciler, DoesNotTryARefusedLabelAgain) {
  World world;
  world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}});
  world.server.TakeRequests();
  const Outcome outcome = world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}});
  EXPECT_THAT(outcome.news, IsEmpty());
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, TriesARefusedLabelAgainWithAnotherValue) {
  World world;
  world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}});
  world.Reconcile({{kBoard, "1"}, {kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

TEST(Reconciler, LeavesOutALabelWhoseKeyIsRefused) {
  World world;
  world.server.Script("PATCH", {InvalidLabel(kNpu)});
  EXPECT_EQ(world.Reconcile({{kBoard, "1"}, {kNpu, "1"}}).failure, std::nullopt);
  EXPECT_EQ(world.server.labels(), (LabelMap{{kBoard, "1"}, {"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, LeavesOutLabelsThatAreRefusedOneAfterAnother) {
  World world;
  world.server.Script("PATCH", {InvalidLabel(kNpu), InvalidLabel(kGpu)});
  EXPECT_EQ(world.Reconcile({{kBoard, "1"}, {kNpu, "1"}, {kGpu, "1"}}).failure, std::nullopt);
  EXPECT_EQ(world.server.labels(), (LabelMap{{kBoard, "1"}, {"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, AppliesTheRestInTheEndHoweverManyLabelsAreRefusedOneByOne) {
  World world;
  Labels wanted = {{kBoard, "1"}};
  std::vector<HttpResponse> refusals;
  for (int i = 0; i < 12; ++i) {
    wanted.push_back({std::string(kNpu) + std::to_string(i), "1"});
    refusals.push_back(InvalidLabel(wanted.back().key));
  }
  world.server.Script("PATCH", refusals);
  int attempts = 1;
  while (world.Reconcile(wanted).failure && attempts < 10) ++attempts;
  EXPECT_LE(attempts, 3);
  EXPECT_EQ(world.server.labels(), (LabelMap{{kBoard, "1"}, {"kubernetes.io/os", "linux"}}));
}

// --- Conflicts --------------------------------------------------------------------

TEST(Reconciler, TakesALabelThatAnotherHoldsWithAnotherValue) {
  World world(kForce);
  world.server.Label(kNpu, "0");
  const Outcome outcome = world.Reconcile({{kBoard, "1"}, {kNpu, "1"}});
  EXPECT_EQ(outcome.failure, std::nullopt);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply", "apply force"));
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_THAT(outcome.news,
              ElementsAre(HasSubstr("beta.devicetree.org/acme-npu: \"kubectl-label\" holds it")));
  const SinkReport report = world.Report();
  EXPECT_EQ(report.conflicts, (std::map<std::string, std::uint64_t>{{"kubectl-label", 1}}));
  EXPECT_EQ(report.repairs, 0U);  // it had not been right before
}

TEST(Reconciler, SaysOnceWhomItTakesALabelFrom) {
  World world(kForce);
  world.server.Label(kNpu, "0");
  EXPECT_THAT(world.Reconcile({{kNpu, "1"}}).news, SizeIs(1));
  world.server.Label(kNpu, "0");
  EXPECT_THAT(world.Reconcile({{kNpu, "1"}}).news, IsEmpty());
  EXPECT_EQ(world.Report().conflicts.at("kubectl-label"), 2U);
}

TEST(Reconciler, LeavesAConflictWhereItIsToYield) {
  World world(kYield);
  world.server.Label(kNpu, "0");
  EXPECT_EQ(world.Reconcile({{kBoard, "1"}, {kNpu, "1"}}).failure, std::nullopt);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply", "apply"));
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "0"));
  EXPECT_TRUE(world.server.node()->Holds(kBoard, "1"));
  EXPECT_EQ(world.Report().yielded, 1U);
  EXPECT_THAT(world.Applied(), ElementsAre(true, false));
  // And does not ask for it again.
  world.Reconcile({{kBoard, "1"}, {kNpu, "1"}});
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
  EXPECT_EQ(world.Report().conflicts.at("kubectl-label"), 1U);
}

TEST(Reconciler, LeavesALabelThatWasItsOwnWhereItIsToYield) {
  World world(kYield);
  world.Reconcile({{kNpu, "1"}});
  world.server.Label(kNpu, "0");
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "0"));
  EXPECT_EQ(world.Report().yielded, 1U);
}

TEST(Reconciler, LeavesALabelHeldTogetherAsItIsWhereItIsToYield) {
  World world(kYield);
  world.server.Apply("other-applier", {{kNpu, "1"}}, false);
  world.Reconcile({{kNpu, "1"}});
  EXPECT_EQ(world.Reconcile({{kBoard, "1"}, {kNpu, "2"}}).failure, std::nullopt);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_TRUE(world.server.node()->Holds(kBoard, "1"));
  EXPECT_EQ(world.Report().yielded, 1U);
  world.server.Apply("other-applier", {}, false);
  world.Reconcile({{kBoard, "1"}, {kNpu, "2"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "2"));
}

TEST(Reconciler, SetsALabelOnceNobodyHoldsItAnyMore) {
  World world(kYield);
  world.server.Label(kNpu, "0");
  world.Reconcile({{kNpu, "1"}});
  world.server.Unlabel(kNpu);
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_EQ(world.Report().yielded, 0U);
}

TEST(Reconciler, TakesEachOfSeveralConflicts) {
  World world(kForce);
  world.server.Label(kNpu, "0");
  world.server.Apply("other-applier", {{kGpu, "7"}}, false);
  world.Reconcile({{kNpu, "1"}, {kGpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "1"));
  EXPECT_EQ(world.Report().conflicts,
            (std::map<std::string, std::uint64_t>{{"kubectl-label", 1}, {"other-applier", 1}}));
}

TEST(Reconciler, CountsNoMoreThanTwentyManagersApart) {
  World world(kForce);
  for (int i = 0; i < 50; ++i) {
    world.server.Write("manager-" + std::to_string(i), {{kNpu, "0"}});
    world.Reconcile({{kNpu, "1"}});
    world.now += hours(1);
  }
  const SinkReport report = world.Report();
  EXPECT_EQ(report.conflicts.size(), 21U);
  EXPECT_EQ(report.conflicts.at("other"), 30U);
}

// --- The budget: three changes a label and hour -----------------------------------

TEST(Reconciler, SetsRightWhatOthersDeleteThreeTimesAnHour) {
  World world;
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  std::vector<std::string> news;
  for (int i = 0; i < 10; ++i) {
    world.now += minutes(1);
    world.server.Unlabel(kNpu);
    const Outcome outcome = world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
    EXPECT_EQ(outcome.failure, std::nullopt);
    EXPECT_EQ(world.server.node()->Holds(kNpu, "1"), i < 3) << i;
    news.insert(news.end(), outcome.news.begin(), outcome.news.end());
  }
  EXPECT_TRUE(world.server.node()->Holds(kBoard, "1"));
  EXPECT_EQ(world.Report().repairs, 3U);
  EXPECT_EQ(world.Report().yielded, 1U);
  EXPECT_THAT(world.Applied(), ElementsAre(false, true));
  EXPECT_THAT(news, ElementsAre(HasSubstr(kNpu)));
  world.server.TakeRequests();
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, TakesFromOthersThreeTimesAnHour) {
  World world(kForce);
  for (int i = 0; i < 10; ++i) {
    world.now += minutes(1);
    world.server.Label(kNpu, "0");
    world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(world.server.node()->Holds(kNpu, "1"), i < 3) << i;
  }
  EXPECT_EQ(world.Report().yielded, 1U);
}

TEST(Reconciler, DeletionsAndConflictsShareTheBudget) {
  World world(kForce);
  world.Reconcile({{kNpu, "1"}});
  for (int i = 0; i < 6; ++i) {
    world.now += minutes(1);
    i % 2 == 0 ? world.server.Unlabel(kNpu) : world.server.Label(kNpu, "0");
    world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(world.server.node()->Holds(kNpu, "1"), i < 3) << i;
  }
}

TEST(Reconciler, TheBudgetIsThatOfTheLastHour) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  const Clock::time_point start = world.now;
  const std::pair<int, bool> minutes_and_right[] = {
      {0, true},   {20, true}, {40, true},  {59, false}, {60, true},   {61, false},
      {79, false}, {80, true}, {99, false}, {100, true}, {101, false}, {119, false}};
  for (const auto& [minute, right] : minutes_and_right) {
    world.now = start + minutes(minute);
    world.server.Unlabel(kNpu);
    world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(world.server.node()->Holds(kNpu, "1"), right) << minute;
  }
}

TEST(Reconciler, TakesWhatItHadYieldedOnceTheHourHasPassed) {
  World world(kForce);
  for (int i = 0; i < 4; ++i) {
    world.server.Label(kNpu, "0");
    world.Reconcile({{kNpu, "1"}});
  }
  ASSERT_TRUE(world.server.node()->Holds(kNpu, "0"));
  world.now += hours(1);
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_EQ(world.Report().yielded, 0U);
}

TEST(Reconciler, EachLabelHasItsOwnBudget) {
  World world;
  const Labels wanted = {{kNpu, "1"}, {kGpu, "1"}};
  world.Reconcile(wanted);
  for (int i = 0; i < 5; ++i) {
    world.server.Unlabel(kNpu);
    world.Reconcile(wanted);
  }
  world.server.Unlabel(kGpu);
  world.Reconcile(wanted);
  EXPECT_FALSE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "1"));
}

TEST(Reconciler, ARepairThatChangedNothingDoesNotCount) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.server.Unlabel(kNpu);
  HttpResponse unchanged;
  const auto remember = [&](const HttpRequest& request) {
    if (request.method == "PATCH") return unchanged;
    return unchanged = world.server.Answer(request);
  };
  for (int i = 0; i < 5; ++i) world.reconciler.Reconcile(world.wanted, remember, world.now);
  EXPECT_EQ(world.Report().repairs, 0U);
  EXPECT_THAT(world.Applied(), ElementsAre(false));
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

TEST(Reconciler, AFailedRepairDoesNotCount) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.server.Unlabel(kNpu);
  world.server.Script("PATCH", std::vector<HttpResponse>(5, kNoNetwork));
  for (int i = 0; i < 5; ++i) world.Reconcile({{kNpu, "1"}});
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_EQ(world.Report().repairs, 1U);
}

TEST(Reconciler, AFailedAttemptDoesNotEndYielding) {
  World world;
  const Labels wanted = {{kNpu, "1"}, {kBoard, "1"}};
  world.Reconcile(wanted);
  for (int i = 0; i < 4; ++i) {
    world.server.Unlabel(kNpu);
    world.Reconcile(wanted);
  }
  ASSERT_EQ(world.Report().yielded, 1U);
  world.server.Apply(kFieldManager, {{kNpu, "1"}}, false);  // by another exporter
  world.server.Script("PATCH", {kNoNetwork});
  world.Reconcile(wanted);
  world.server.Unlabel(kNpu);
  world.Reconcile(wanted);
  EXPECT_FALSE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_TRUE(world.server.node()->Holds(kBoard, "1"));
}

TEST(Reconciler, OwnChangesDoNotCount) {
  // Hardware that comes and goes, or is counted anew.
  World world;
  for (int i = 0; i < 10; ++i) {
    world.Reconcile({{kNpu, std::to_string(i)}});
    EXPECT_TRUE(world.server.node()->Holds(kNpu, std::to_string(i)));
    world.Reconcile({});
    EXPECT_EQ(ValueOf(world.server.labels(), kNpu), std::nullopt);
  }
  EXPECT_EQ(world.Report().repairs, 0U);
}

// Two that want different things under one field manager: they get no conflicts.
void ExpectTwoExportersToSettle(const Labels& first, const Labels& second) {
  World world;
  Reconciler other(World::WithNames({}));
  int last_version = 0;
  for (int i = 0; i < 20; ++i) {
    if (i == 10) last_version = world.server.node()->version;
    world.now += minutes(2);
    world.Reconcile(first);
    other.Reconcile({second}, world.send(), world.now);
  }
  EXPECT_EQ(world.server.node()->version, last_version) << "they are at it still";
  EXPECT_LE(world.reconciler.applies(), 4U);
  EXPECT_LE(other.applies(), 4U);
}

TEST(Reconciler, TwoExportersDoNotFightOverWhichLabelsThereAre) {
  ExpectTwoExportersToSettle({{kNpu, "1"}}, {{kGpu, "1"}});
  ExpectTwoExportersToSettle({{kNpu, "1"}, {kBoard, "1"}}, {{kBoard, "1"}});
  ExpectTwoExportersToSettle({}, {{kBoard, "1"}});
}

TEST(Reconciler, TwoExportersDoNotFightOverAValue) {
  ExpectTwoExportersToSettle({{kNpu, "1"}}, {{kNpu, "4"}});
}

TEST(Reconciler, ALabelHeldTogetherIsRepairedThreeTimesAnHour) {
  World world(kForce);
  world.server.Apply("other-applier", {{kNpu, "1"}}, false);
  world.Reconcile({{kNpu, "1"}});
  for (int i = 0; i < 10; ++i) {
    world.now += minutes(1);
    world.server.Apply("other-applier", {{kNpu, "0"}}, /*force=*/true);
    world.server.Apply("other-applier", {{kNpu, "1"}}, false);  // it alone holds it now
    world.Reconcile({{kNpu, "1"}});
    EXPECT_EQ(world.server.node()->Owns(kUs, kNpu), i < 3) << i;
  }
  EXPECT_THAT(world.Applied(), ElementsAre(true));
}

TEST(Reconciler, CountsRepairsAlsoWhileAdoptingFails) {
  World world(kAdopt);
  world.server.Label(kGpu, "x");
  for (int i = 0; i < 10; ++i) {
    world.now += minutes(1);
    world.server.Unlabel(kNpu);
    const auto send = [&](const HttpRequest& request) {
      const bool is_merge = request.content_type == "application/merge-patch+json";
      return is_merge ? kMissingRight : world.server.Answer(request);
    };
    const Outcome outcome = world.reconciler.Reconcile({{{kNpu, "1"}}}, send, world.now);
    EXPECT_EQ(world.server.node()->Holds(kNpu, "1"), i < 4) << i;  // set once, set right thrice
    EXPECT_TRUE(i >= 4 || outcome.failure == ApplyFailure::kForbidden) << i;
  }
}

TEST(Reconciler, ANodeCreatedAnewIsLabelledWhateverWasYieldedBefore) {
  World world(kYield);
  world.server.Label(kNpu, "0");
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  for (int i = 0; i < 5; ++i) {
    world.server.Unlabel(kBoard);
    world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  }
  ASSERT_EQ(world.Report().yielded, 2U);
  world.server.Delete();
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}, {kBoard, "1"}}).failure, ApplyFailure::kNotFound);
  world.server.Create();
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_TRUE(world.server.node()->Holds(kBoard, "1"));
  EXPECT_EQ(world.Report().yielded, 0U);
}

// --- While labels may not go ------------------------------------------------------

TEST(Reconciler, KeepsAndAddsButDoesNotRemoveWhileLabelsMayNotGo) {
  World world;
  world.server.Apply(kFieldManager, {{kNpu, "1"}}, false);
  world.Reconcile({{kBoard, "1"}}, /*may_remove=*/false);
  EXPECT_EQ(world.server.labels(),
            (LabelMap{{kBoard, "1"}, {kNpu, "1"}, {"kubernetes.io/os", "linux"}}));
  world.server.TakeRequests();
  world.Reconcile({{kBoard, "1"}}, /*may_remove=*/false);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
  world.Reconcile({{kBoard, "1"}});
  EXPECT_EQ(world.server.labels(), (LabelMap{{kBoard, "1"}, {"kubernetes.io/os", "linux"}}));
  EXPECT_EQ(world.Report().repairs, 0U);
}

TEST(Reconciler, RaisesACountWhileLabelsMayNotGo) {
  World world;
  world.server.Apply(kFieldManager, {{kNpu, "9"}, {kGpu, "x"}}, false);
  world.Reconcile({{kNpu, "10"}, {kGpu, "1"}}, /*may_remove=*/false);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "10"));
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "1"));  // no count: other words for the same
}

TEST(Reconciler, LowersNoCountWhileLabelsMayNotGo) {
  World world;
  world.server.Apply(kFieldManager, {{kNpu, "4"}}, false);
  EXPECT_EQ(world.Reconcile({{kNpu, "3"}}, /*may_remove=*/false).failure, std::nullopt);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "4"));
  EXPECT_THAT(world.Applied(), ElementsAre(false));
  world.Reconcile({{kNpu, "3"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "3"));
}

TEST(Reconciler, KeepsALabelWhoseNewValueIsRefusedWhileLabelsMayNotGo) {
  World world;
  world.Reconcile({{kNpu, "not valid"}}, /*may_remove=*/false);
  world.server.Apply(kFieldManager, {{kNpu, "4"}}, false);  // by another exporter
  world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}}, /*may_remove=*/false);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "4"));
}

TEST(Reconciler, LosesNothingToAStaleCacheWhileLabelsMayNotGo) {
  World world;
  world.server.FreezeCache();
  world.server.Apply(kFieldManager, {{kNpu, "1"}}, false);  // by the run before this one
  world.Reconcile({{kBoard, "1"}}, /*may_remove=*/false);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
}

// --- Adopting ---------------------------------------------------------------------

TEST(Reconciler, AdoptsByRemovingWhatOthersLeftUnderThePrefix) {
  World world(kAdopt);
  world.server.Write("k8s-dt-node-labeller", {{kGpu, "1"}, {kNpu, "1"}, {kOutside, "a"}});
  world.server.Label(kAlike, "1");
  const Outcome outcome = world.Reconcile({{kNpu, "1"}});
  EXPECT_EQ(outcome.failure, std::nullopt);
  EXPECT_THAT(outcome.news, SizeIs(1));
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply", "merge"));
  EXPECT_EQ(world.server.labels(),
            (LabelMap{{kNpu, "1"}, {kOutside, "a"}, {kAlike, "1"}, {"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, AdoptsByTakingTheOwnershipUnderThePrefix) {
  World world(kAdopt);
  world.server.Write("k8s-dt-node-labeller", {{kNpu, "1"}, {kOutside, "a"}});
  world.server.Apply("other-applier", {{kNpu, "1"}, {kAlike, "1"}}, false);
  world.Reconcile({{kNpu, "1"}});
  const Node& node = *world.server.node();
  EXPECT_EQ(node.owners, (std::map<Owner, Keys>{{kUs, {kNpu}},
                                                {{"k8s-dt-node-labeller", false}, {kOutside}},
                                                {{"kubelet", false}, {"kubernetes.io/os"}},
                                                {{"other-applier", true}, {kAlike}}}));
}

TEST(Reconciler, AdoptsTheNodeAsItWasSeenOrLooksAgain) {
  World world(kAdopt);
  world.server.Label(kGpu, "1");
  int patches = 0;
  world.server.before_patch = [&] {
    if (++patches == 2) world.server.Label(kOutside, "b");  // before the merge patch
  };
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("apply", "merge", "merge"));
  EXPECT_EQ(world.server.labels(),
            (LabelMap{{kNpu, "1"}, {kOutside, "b"}, {"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, DoesNotAdoptWhatItYields) {
  Reconciler::Settings settings = kAdopt;
  settings.force_conflicts = false;
  World world(settings);
  world.server.Label(kNpu, "0");
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "0"));
  EXPECT_TRUE(world.server.node()->Owns({"kubectl-label", false}, kNpu));
  Reconciler restarted(World::WithNames(settings));
  restarted.Reconcile({{{kNpu, "1"}}}, world.send(), world.now);
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "0"));
}

TEST(Reconciler, DoesNotAdoptALabelThatIsRefused) {
  World world(kAdopt);
  world.server.Label(kNpu, "0");
  world.Reconcile({{kBoard, "1"}, {kNpu, "not valid"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "0"));
  EXPECT_TRUE(world.server.node()->Owns({"kubectl-label", false}, kNpu));
}

TEST(Reconciler, AdoptsALabelOfAnotherWithAnotherValue) {
  World world(kAdopt);
  world.server.Write("k8s-dt-node-labeller", {{kNpu, "4"}});
  world.Reconcile({{kNpu, "1"}});
  EXPECT_TRUE(world.server.node()->Holds(kNpu, "1"));
  EXPECT_TRUE(world.server.node()->Owns(kUs, kNpu));
}

TEST(Reconciler, AdoptsOnce) {
  World world(kAdopt);
  world.Reconcile({{kNpu, "1"}});
  world.server.Label(kGpu, "x");
  world.server.TakeRequests();
  world.Reconcile({{kNpu, "1"}});
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "x"));
}

TEST(Reconciler, AdoptsNothingThatOthersSetAfterwards) {
  World world(kAdopt);
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  world.server.Label(kGpu, "x");
  world.Reconcile({{kBoard, "1"}});  // to drop one of ours is no reason either
  EXPECT_EQ(ValueOf(world.server.labels(), kNpu), std::nullopt);
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "x"));
}

TEST(Reconciler, AdoptsANodeCreatedAnewToo) {
  World world(kAdopt);
  world.Reconcile({{kNpu, "1"}});
  world.server.Delete();
  world.server.Create({{kGpu, "x"}});
  world.Reconcile({{kNpu, "1"}});
  EXPECT_EQ(world.server.labels(), (LabelMap{{kNpu, "1"}}));
}

TEST(Reconciler, AdoptsOnlyOnceLabelsMayGo) {
  World world(kAdopt);
  world.server.Label(kGpu, "1");
  world.Reconcile({{kNpu, "1"}}, /*may_remove=*/false);
  EXPECT_TRUE(world.server.node()->Holds(kGpu, "1"));
  world.Reconcile({{kNpu, "1"}});
  EXPECT_EQ(ValueOf(world.server.labels(), kGpu), std::nullopt);
}

TEST(Reconciler, WithAdoptALabelThatAnotherHoldsTooGoes) {
  World world(kAdopt);
  world.server.Write("k8s-dt-node-labeller", {{kNpu, "1"}});
  world.Reconcile({{kNpu, "1"}});
  world.Reconcile({});
  EXPECT_EQ(world.server.labels(), (LabelMap{{"kubernetes.io/os", "linux"}}));
}

TEST(Reconciler, TriesToAdoptAgainAfterAFailure) {
  World world(kAdopt);
  world.Reconcile({{kNpu, "1"}}, /*may_remove=*/false);
  world.server.Label(kGpu, "1");
  world.server.Script("PATCH", {kMissingRight});
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, ApplyFailure::kForbidden);
  EXPECT_EQ(world.Reconcile({{kNpu, "1"}}).failure, std::nullopt);
  EXPECT_EQ(ValueOf(world.server.labels(), kGpu), std::nullopt);
}

// --- Cleaning up ------------------------------------------------------------------

TEST(Reconciler, CleansUpAllUnderThePrefixWhoeverSetIt) {
  World world;
  world.server.Apply(kFieldManager, {{kNpu, "1"}, {kOutside, "a"}}, false);
  world.server.Apply("other-applier", {{kNpu, "1"}, {kBoard, "1"}}, false);
  world.server.Label(kGpu, "x");
  world.server.Label(kAlike, "1");
  const Outcome outcome = world.CleanUp();
  EXPECT_EQ(outcome.failure, std::nullopt);
  EXPECT_EQ(world.server.labels(),
            (LabelMap{{kOutside, "a"}, {kAlike, "1"}, {"kubernetes.io/os", "linux"}}));
  EXPECT_THAT(world.server.TakePatches(), ElementsAre("merge"));
}

TEST(Reconciler, CleansUpANodeThatIsCleanByLookingAtIt) {
  World world;
  EXPECT_EQ(world.CleanUp().failure, std::nullopt);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, ANodeThatIsNotThereIsClean) {
  World world;
  world.server.Delete();
  EXPECT_EQ(world.CleanUp().failure, std::nullopt);
  EXPECT_THAT(world.server.TakeRequests(), ElementsAre("get"));
}

TEST(Reconciler, CleansUpTheNodeThatWasCreatedAnewMeanwhile) {
  World world;
  world.server.Label(kNpu, "1");
  bool done = false;
  world.server.before_patch = [&] {
    if (std::exchange(done, true)) return;
    world.server.Delete();
    world.server.Create({{kGpu, "1"}});
  };
  EXPECT_EQ(world.CleanUp().failure, std::nullopt);
  EXPECT_THAT(world.server.labels(), IsEmpty());
}

TEST(Reconciler, DoesNotCallANodeCleanWhoseLabelsComeBack) {
  World world;
  world.server.Label(kNpu, "1");
  const auto send = [&](const HttpRequest& request) {
    const HttpResponse response = world.server.Answer(request);
    if (request.method == "PATCH") world.server.Label(kNpu, "1");
    return response;
  };
  const Outcome outcome = world.reconciler.CleanUp(send);
  EXPECT_EQ(outcome.failure, ApplyFailure::kConflict);
  EXPECT_EQ(outcome.error, "labels under beta.devicetree.org/ come back as they are removed");
  EXPECT_LE(world.server.TakeRequests().size(), 10U);
}

TEST(Reconciler, SaysWhyANodeIsNotClean) {
  for (const FailureCase& c : FailureCases()) {
    if (c.failure == ApplyFailure::kNotFound) continue;
    for (const char* method : {"GET", "PATCH"}) {
      World world;
      world.server.Label(kNpu, "1");
      world.server.Script(method, {c.response});
      const Outcome outcome = world.CleanUp();
      EXPECT_EQ(outcome.failure, c.failure) << method << c.error;
      EXPECT_EQ(outcome.error, c.error) << method;
    }
  }
}

// --- The report -------------------------------------------------------------------

TEST(Reconciler, ReportsEachWantedLabelInItsOrder) {
  World world;
  const SinkReport before = world.reconciler.Report({{{kNpu, "1"}, {kBoard, "1"}}});
  ASSERT_THAT(before.labels, SizeIs(2));
  EXPECT_EQ(before.labels[0].key, kNpu);
  EXPECT_FALSE(before.labels[0].applied);
  world.Reconcile({{kNpu, "1"}, {kBoard, "1"}});
  EXPECT_THAT(world.Applied(), ElementsAre(true, true));
  world.wanted.labels[0].value = "2";  // wanted from now on, and not applied yet
  EXPECT_THAT(world.Applied(), ElementsAre(false, true));
}

TEST(Reconciler, ReportsWhatTheServerWasLastSeenToHold) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.server.Script("GET", {kNoNetwork});
  world.Reconcile({{kNpu, "1"}});
  EXPECT_THAT(world.Applied(), ElementsAre(true));
  world.server.Unlabel(kNpu);
  world.server.Script("PATCH", {kMissingRight});
  world.Reconcile({{kNpu, "1"}});
  EXPECT_THAT(world.Applied(), ElementsAre(false));
}

TEST(Reconciler, ReportsNothingAppliedOnANodeThatIsNotThere) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.server.Delete();
  world.Reconcile({{kNpu, "1"}});
  EXPECT_THAT(world.Applied(), ElementsAre(false));
}

TEST(Reconciler, ReportsOfTheWantedLabelsHowManyItYields) {
  World world;
  const Labels wanted = {{kBoard, "1"}};
  world.Reconcile(wanted);
  for (int i = 0; i < 5; ++i) {  // another exporter adds one of its own each time
    world.server.Apply(kFieldManager, {{kBoard, "1"}, {kGpu, "1"}}, false);
    world.Reconcile(wanted);
  }
  ASSERT_TRUE(world.server.node()->Holds(kGpu, "1"));
  EXPECT_THAT(world.Applied(), ElementsAre(true));
  EXPECT_EQ(world.Report().yielded, 0U);
}

TEST(Reconciler, CountsTheAppliesThatTheServerTook) {
  World world;
  world.Reconcile({{kNpu, "1"}});
  world.Reconcile({{kNpu, "1"}});
  world.Reconcile({{kNpu, "2"}});
  world.server.Script("PATCH", {kNoNetwork});
  world.Reconcile({{kNpu, "3"}});
  EXPECT_EQ(world.Report().applies, 2U);
  EXPECT_EQ(world.reconciler.applies(), 2U);
}

// --- Everything at once -----------------------------------------------------------

// Wanted labels, others' changes, failures, stale reads and time, at random. What is
// required of each patch is required of what the last answer showed truly: of what
// changed since no client can know.
class Chaos {
 public:
  Chaos(unsigned seed, Reconciler::Settings settings)
      : random_(seed), settings_(World::WithNames(settings)), reconciler_(settings_) {}

  void Run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      Step();
      if (step % 50 == 49) RequireThatItSettles();
    }
  }

 private:
  unsigned Below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  bool OneIn(unsigned n) { return Below(n) == 0; }
  std::string AnyKey() { return std::string(kPrefix) + "/k" + std::to_string(Below(5)); }
  std::string AnyValue() { return std::to_string(Below(3)); }
  // Now and then one that the server refuses.
  std::string AnyWantedValue() { return OneIn(20) ? "in valid" : AnyValue(); }
  std::string AnyOutsideKey() { return OneIn(2) ? kOutside : kAlike; }

  void Step() {
    switch (Below(12)) {
      case 0:
      case 1: {
        wanted_.labels.clear();
        for (int i = 0; i < 5; ++i) {
          const std::string key = std::string(kPrefix) + "/k" + std::to_string(i);
          if (!OneIn(3)) wanted_.labels.push_back({key, AnyWantedValue()});
        }
        break;
      }
      case 2:
        wanted_.may_remove = true;
        if (OneIn(5)) Restart();
        break;
      case 3: world_.now += minutes(Below(30)); break;
      case 4:
        if (OneIn(10)) Recreate();
        break;
      case 5: OneIn(2) ? world_.server.FreezeCache() : world_.server.ThawCache(); break;
      default: {
        if (world_.server.node()) Disturb();
        if (OneIn(4)) DisturbOutside();
        Attempt(/*quiet=*/false);
      }
    }
  }

  // Nothing of what was before is known then, nor which labels may go.
  void Restart() {
    reconciler_.emplace(settings_);
    wanted_.may_remove = false;
    settled_.reset();
    repairs_.clear();
    adopted_.clear();
  }

  void Recreate() {
    world_.server.Delete();
    if (OneIn(2)) Attempt(/*quiet=*/false);
    world_.server.Create({{kOutside, "a"}});
  }

  // What others do to labels under the prefix.
  void Disturb() {
    ApiServer& server = world_.server;
    switch (Below(7)) {
      case 0: server.Label(AnyKey(), AnyValue()); break;
      case 1: server.Unlabel(AnyKey()); break;
      case 2: server.Apply("other-applier", {{AnyKey(), AnyValue()}}, /*force=*/true); break;
      case 3: server.Write(kFieldManager, {{AnyKey(), AnyValue()}}); break;  // of --cleanup's kind
      case 4: {  // another exporter, which leaves what is outside its prefix
        LabelMap labels;
        for (const auto& [key, value] : server.labels()) {
          if (!IsUnderPrefix(key) && server.node()->Owns(kUs, key)) labels[key] = value;
        }
        for (int i = 0; i < 3; ++i) labels[AnyKey()] = AnyValue();
        server.Apply(kFieldManager, labels, /*force=*/true);
        break;
      }
      default: break;
    }
  }

  void DisturbOutside() {
    ApiServer& server = world_.server;
    if (!server.node()) return;
    switch (Below(3)) {
      case 0: server.Label(AnyOutsideKey(), AnyValue()); break;
      case 1: server.Unlabel(AnyOutsideKey()); break;
      default: {  // an exporter with another prefix, which leaves ours
        LabelMap labels;
        for (const auto& [key, value] : server.labels()) {
          if (server.node()->Owns(kUs, key)) labels[key] = value;
        }
        labels[AnyOutsideKey()] = AnyValue();
        server.Apply(kFieldManager, labels, /*force=*/true);
      }
    }
  }

  Outcome Attempt(bool quiet) {
    std::optional<NodeMetadata> seen;
    if (!quiet && world_.server.node() && OneIn(4)) {
      seen = world_.server.seen();
      shown_ = world_.server.node();
      if (OneIn(2)) Disturb();  // so that it is stale already
    }
    requests_ = 0;
    const Outcome outcome = reconciler_->Reconcile(
        wanted_, [&](const HttpRequest& request) { return Answer(request, quiet); }, world_.now,
        seen);
    EXPECT_LE(requests_, kMostRequests);
    if (!outcome.failure && shown_) settled_ = Settled{wanted_.labels, *shown_, {}};
    if (outcome.failure && settled_) {
      for (const Labels* labels : {&settled_->wanted, &wanted_.labels}) {
        for (const auto& [key, value] : *labels) {
          if (!WantedAsThen(key)) settled_->wanted_otherwise.insert(key);
        }
      }
    }
    return outcome;
  }

  HttpResponse Answer(const HttpRequest& request, bool quiet) {
    ++requests_;
    if (!quiet && OneIn(15)) return AnyRefusal();
    const bool is_patch = request.method == "PATCH";
    if (!quiet && is_patch && world_.server.node() && OneIn(8)) Disturb();
    const std::optional<Node> before = world_.server.node();
    const HttpResponse response = world_.server.Answer(request);
    const bool lost = !quiet && OneIn(20);
    if (is_patch && response.status == 200) RequireGood(*before, *world_.server.node(), !lost);
    if (!lost && response.status == 200 && request.content_type.starts_with("application/merge")) {
      EXPECT_TRUE(adopted_.insert(world_.server.node()->uid).second) << "adopted twice";
    }
    if (lost) return {.status = 0, .failure = ApplyFailure::kTimeout, .error = "no answer"};
    if (response.status == 200) shown_ = world_.server.shown();
    return response;
  }

  HttpResponse AnyRefusal() {
    const HttpResponse all[] = {kNoNetwork,
                                kMissingRight,
                                UidMismatch(),
                                PolicyRefusal(422, "Invalid"),
                                {.status = 500, .body = "{}"},
                                {.status = 429, .body = "Too many requests."},
                                {.status = 200, .body = "<html>"},
                                {.status = 404, .body = "{}"}};
    return all[Below(std::size(all))];
  }

  const std::string* WantedValue(const Labels& labels, const std::string& key) const {
    const auto found = std::ranges::find(labels, key, &Label::key);
    return found == labels.end() ? nullptr : &found->value;
  }

  // A patch of ours made `after` of `before`.
  void RequireGood(const Node& before, const Node& after, bool acknowledged) {
    ASSERT_TRUE(shown_);
    Keys keys;
    for (const LabelMap* labels : {&before.labels, &after.labels}) {
      for (const auto& [key, value] : *labels) keys.insert(key);
    }
    for (const std::string& key : keys) {
      const auto old_value = ValueOf(before.labels, key);
      const auto new_value = ValueOf(after.labels, key);
      const bool was_ours = before.Owns(kUs, key);
      const bool shown_truly =
          ValueOf(shown_->labels, key) == old_value && shown_->Owns(kUs, key) == was_ours;
      if (old_value == new_value || !shown_truly) continue;
      EXPECT_TRUE(IsUnderPrefix(key)) << key << " is outside the prefix";
      const std::string* wanted = WantedValue(wanted_.labels, key);
      EXPECT_TRUE(!new_value || (wanted != nullptr && *new_value == *wanted)) << key;
      EXPECT_TRUE(wanted_.may_remove || !was_ours || (new_value && *new_value > *old_value))
          << key << " was to stay as it was";  // all counts here have one digit
      EXPECT_TRUE(new_value || was_ours || settings_.adopt) << key << " was another's";
      const bool taken = old_value && new_value && !was_ours;
      EXPECT_TRUE(!taken || settings_.force_conflicts) << key << " was to be yielded";
      const bool adopted = !new_value && !was_ours;
      if (acknowledged && !adopted && (taken || WasRight(key, after))) CountRepair(key);
    }
  }

  // Whether it is wanted as it was at the last success.
  bool WantedAsThen(const std::string& key) const {
    const std::string* then = WantedValue(settled_->wanted, key);
    const std::string* now = WantedValue(wanted_.labels, key);
    return then == nullptr || now == nullptr ? then == now : *then == *now;
  }

  // Whether the last success left the label as it is wanted still, on this Node.
  bool WasRight(const std::string& key, const Node& node) const {
    if (!settled_ || settled_->node.uid != node.uid) return false;
    if (!WantedAsThen(key) || settled_->wanted_otherwise.contains(key)) return false;
    const std::string* then = WantedValue(settled_->wanted, key);
    const auto held = ValueOf(settled_->node.labels, key);
    return then == nullptr ? !held : held == *then;
  }

  void CountRepair(const std::string& key) {
    std::deque<Clock::time_point>& times = repairs_[key];
    std::erase_if(times, [&](const auto& time) { return world_.now - time >= hours(1); });
    times.push_back(world_.now);
    EXPECT_LE(times.size(), 3U) << key << " was set right more than three times within an hour";
  }

  // Nobody disturbs it, and time passes: then all is as it should be.
  void RequireThatItSettles() {
    SCOPED_TRACE("quiet");
    world_.server.ThawCache();
    if (!world_.server.node()) world_.server.Create();
    wanted_.may_remove = true;
    world_.now += hours(2);
    EXPECT_EQ(Attempt(/*quiet=*/true).failure, std::nullopt);
    const int version = world_.server.node()->version;
    EXPECT_EQ(Attempt(/*quiet=*/true).failure, std::nullopt);
    const Node& node = *world_.server.node();
    EXPECT_EQ(node.version, version) << "it is not at rest";
    const SinkReport report = reconciler_->Report(wanted_);
    std::size_t yielded = 0;
    std::size_t refused = 0;  // may be yielded besides
    for (std::size_t i = 0; i < wanted_.labels.size(); ++i) {
      const auto& [key, value] = wanted_.labels[i];
      EXPECT_EQ(report.labels[i].applied, node.Holds(key, value)) << key;
      if (node.Holds(key, value)) continue;
      ++(value == "in valid" ? refused : yielded);
      if (value == "in valid") continue;
      EXPECT_FALSE(settings_.force_conflicts) << key << " is not applied";
      EXPECT_TRUE(node.OthersOwn(key)) << key << " is free";
    }
    EXPECT_TRUE(yielded > 0 || requests_ == 1) << "it is not at rest";
    EXPECT_GE(report.yielded, yielded);
    EXPECT_LE(report.yielded, yielded + refused);
    for (const auto& [key, value] : node.labels) {
      const bool unwanted = IsUnderPrefix(key) && WantedValue(wanted_.labels, key) == nullptr;
      EXPECT_FALSE(unwanted && node.Owns(kUs, key)) << key << " is left";
    }
  }

  // What the last attempt that succeeded was to bring about, and what it saw last.
  struct Settled {
    Labels wanted;
    Node node;
    Keys wanted_otherwise;  // since then, in attempts that failed
  };

  std::mt19937 random_;
  const Reconciler::Settings settings_;
  World world_;
  std::optional<Reconciler> reconciler_;
  WantedLabels wanted_{{}, /*may_remove=*/false};
  std::optional<Node> shown_;
  std::optional<Settled> settled_;
  std::map<std::string, std::deque<Clock::time_point>> repairs_;
  Keys adopted_;  // uids of Nodes
  std::size_t requests_ = 0;
};

class ReconcilerInChaos : public testing::TestWithParam<std::tuple<bool, bool>> {};

INSTANTIATE_TEST_SUITE_P(, ReconcilerInChaos, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const auto& param) {
                           return std::string(std::get<0>(param.param) ? "Force" : "NoForce") +
                                  (std::get<1>(param.param) ? "Adopt" : "NoAdopt");
                         });

TEST_P(ReconcilerInChaos, KeepsItsRulesWhateverHappens) {
  const auto [force, adopt] = GetParam();
  for (unsigned seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Chaos(seed, {.force_conflicts = force, .adopt = adopt}).Run(2000);
  }
}

}  // namespace
}  // namespace exporter
