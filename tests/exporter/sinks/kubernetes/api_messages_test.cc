// Bodies are those of a kube-apiserver 1.36, shortened.
#include "exporter/sinks/kubernetes/api_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kUid = "9b833533-4cff-47bd-94ee-08df0d4c3cb5";

// The metadata of a Node that we, another applier, and `kubectl label` have labelled.
constexpr std::string_view kNode =
    R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{)"
    R"("name":"edge-1","uid":"9b833533-4cff-47bd-94ee-08df0d4c3cb5","resourceVersion":"204",)"
    R"("creationTimestamp":"2026-11-24T02:21:06Z","labels":{"beta.devicetree.org/acme-board":"1",)"
    R"("beta.devicetree.org/acme-npu":"0","beta.devicetree.org/acme-two":"7",)"
    R"("kubernetes.io/os":"linux"},"managedFields":[{"manager":"devicetree-exporter",)"
    R"("operation":"Apply","apiVersion":"v1","time":"2026-11-24T02:21:06Z",)"
    R"("fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{)"
    R"("f:beta.devicetree.org/acme-board":{}}}}},{"manager":"other-applier",)"
    R"("operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{)"
    R"("f:labels":{"f:beta.devicetree.org/acme-two":{}}}}},{"manager":"kubectl-label",)"
    R"("operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{)"
    R"("f:labels":{".":{},"f:beta.devicetree.org/acme-npu":{}}}}}]}})";

NodeMetadata Node() {
  return {.name = "edge-1",
          .uid = std::string(kUid),
          .resource_version = "204",
          .labels = {{"beta.devicetree.org/acme-board", "1"},
                     {"beta.devicetree.org/acme-npu", "0"},
                     {"beta.devicetree.org/acme-two", "7"},
                     {"kubernetes.io/os", "linux"}},
          .owned = {"beta.devicetree.org/acme-board"},
          .shared = {"beta.devicetree.org/acme-npu", "beta.devicetree.org/acme-two"}};
}

// Without who else holds what, which is JSON.
std::optional<NodeMetadata> Read(std::string_view json) {
  std::optional<NodeMetadata> node = ParseNode(json);
  if (node) node->managed_fields.clear();
  return node;
}

// A Node with this beside its name, uid and resourceVersion.
std::string NodeWith(const std::string& members) {
  return R"({"metadata":{"name":"a","uid":"u","resourceVersion":"1",)" + members + "}}";
}

std::string Entry(const std::string& manager, const std::string& operation,
                  const std::string& more = "") {
  return R"("managedFields":[{"manager":")" + manager + R"(","operation":")" + operation + '"' +
         more + R"(,"fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:a/b":{}}}}}])";
}

std::string Repeated(std::string_view text, std::size_t times) {
  std::string all;
  all.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

// What a server must not be able to do harm with.
std::string DeepArrays() { return Repeated("[", 100'000) + Repeated("]", 100'000); }
std::string DeepObjects() { return Repeated(R"({"metadata":)", 100'000) + Repeated("}", 100'000); }

TEST(ParseNode, ReadsTheMetadataOfANode) { EXPECT_EQ(Read(kNode), Node()); }

TEST(ParseNode, ReadsAWholeNodeToo) {
  // A server, or a proxy before it, may not know partial metadata.
  std::string whole(kNode);
  whole.pop_back();
  whole += R"(,"spec":{"unschedulable":true},"status":{"labels":{"a/b":"c"},"conditions":[]}})";
  EXPECT_EQ(Read(whole), Node());
}

TEST(ParseNode, ReadsANodeWithoutLabels) {
  const auto node = Read(R"({"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",)"
                         R"("metadata":{"name":"a","uid":"u","resourceVersion":"1"}})");
  EXPECT_EQ(node, (NodeMetadata{.name = "a", .uid = "u", .resource_version = "1"}));
}

TEST(ParseNode, NeedsNameUidAndResourceVersion) {
  EXPECT_EQ(ParseNode(R"({"metadata":{"uid":"u","resourceVersion":"1"}})"), std::nullopt);
  EXPECT_EQ(ParseNode(R"({"metadata":{"name":"a","resourceVersion":"1"}})"), std::nullopt);
  EXPECT_EQ(ParseNode(R"({"metadata":{"name":"a","uid":"u"}})"), std::nullopt);
  EXPECT_EQ(ParseNode(R"({"metadata":{"name":"a","uid":"","resourceVersion":"1"}})"), std::nullopt);
}

TEST(ParseNode, OursIsWhatOurManagerHoldsByApply) {
  const auto ours = ParseNode(NodeWith(Entry("devicetree-exporter", "Apply")));
  EXPECT_THAT(ours->owned, ElementsAre("a/b"));
  EXPECT_THAT(ours->shared, IsEmpty());
  // What stands in none of our applies does not go with the next.
  for (const std::string& entry :
       {Entry("devicetree-exporter", "Update"), Entry("devicetree-exporter2", "Apply"),
        Entry("devicetree-exporter", "Apply", R"(,"subresource":"status")")}) {
    const auto others = ParseNode(NodeWith(entry));
    EXPECT_THAT(others->owned, IsEmpty()) << entry;
    EXPECT_THAT(others->shared, ElementsAre("a/b")) << entry;
  }
}

TEST(ParseNode, IsNoneOfWhatIsNoObject) {
  for (const std::string_view text :
       {"", " ", "null", "true", "1", "\"metadata\"", "[]", "{", "{}", "[{}]", "\xff",
        "\xef\xbb\xbf", R"({"metadata":null})", R"({"metadata":[]})", R"({"metadata":"x"})",
        "<html><body>502 Bad Gateway</body></html>"}) {
    EXPECT_EQ(ParseNode(text), std::nullopt) << text;
  }
  EXPECT_EQ(ParseNode(std::string(kNode) + "x"), std::nullopt);
  EXPECT_EQ(ParseNode(kNode.substr(0, kNode.size() - 1)), std::nullopt);
}

TEST(ParseNode, EveryTruncationIsNone) {
  for (std::size_t size = 0; size < kNode.size(); ++size) {
    EXPECT_EQ(ParseNode(kNode.substr(0, size)), std::nullopt) << size;
  }
}

TEST(ParseNode, LeavesOutWhatIsOfAnotherType) {
  const NodeMetadata bare{.name = "a", .uid = "u", .resource_version = "1"};
  for (const char* members :
       {R"("labels":null)", R"("labels":[])", R"("labels":"a/b")", R"("labels":7)",
        R"("labels":{"a/b":null})", R"("labels":{"a/b":1})", R"("labels":{"a/b":{"a":"b"}})",
        R"("managedFields":null)", R"("managedFields":{})", R"("managedFields":"x")",
        R"("managedFields":[null,1,"x",[],{}])", R"("managedFields":[{"manager":1}])",
        R"("managedFields":[{"manager":"devicetree-exporter","operation":"Apply"}])",
        R"("managedFields":[{"manager":"devicetree-exporter","operation":"Apply","fieldsV1":[]}])",
        R"("managedFields":[{"manager":"devicetree-exporter","operation":"Apply",)"
        R"("fieldsV1":{"f:metadata":{"f:labels":["f:a/b"]}}}])"}) {
    EXPECT_EQ(Read(NodeWith(members)), bare) << members;
  }
  for (const char* name : {"1", "null", "{}", "[\"a\"]"}) {
    const std::string number =
        std::string(R"({"metadata":{"name":)") + name + R"(,"uid":"u","resourceVersion":"1"}})";
    EXPECT_EQ(ParseNode(number), std::nullopt) << name;
  }
  EXPECT_EQ(ParseNode(R"({"metadata":{"name":"a","uid":"u","resourceVersion":1}})"), std::nullopt);
}

TEST(ParseNode, TakesNothingTooDeep) {  // which would take many times its bytes
  EXPECT_EQ(ParseNode(DeepArrays()), std::nullopt);
  EXPECT_EQ(ParseNode(DeepObjects()), std::nullopt);
  EXPECT_EQ(ParseNode(NodeWith(R"("annotations":)" + DeepArrays())), std::nullopt);
  EXPECT_EQ(ParseNode(Repeated("[", 100'000)), std::nullopt);
}

TEST(ParseNode, TakesNoMoreValuesThanANodeHas) {  // each of which takes many times its bytes
  const auto node_with = [](std::size_t count) { return NodeWith("\"annotations\":[" + Repeated("0,", count) + "0]"); };
  EXPECT_NE(ParseNode(node_with(90'000)), std::nullopt);
  EXPECT_EQ(ParseNode(node_with(100'000)), std::nullopt);
}

TEST(ParseNode, TakesNoInvalidUtf8) {
  EXPECT_EQ(ParseNode(NodeWith("\"labels\":{\"a/b\":\"\xff\"}")), std::nullopt);
  EXPECT_EQ(ParseNode(NodeWith("\"labels\":{\"a/\xc3\":\"1\"}")), std::nullopt);
  EXPECT_EQ(ParseNode(NodeWith("\"labels\":{\"a/b\":\"\\ud800\"}")), std::nullopt);
}

TEST(ParseNode, ReadsFourMegabytes) {
  const std::string big(4 << 20, 'x');
  EXPECT_EQ(ParseNode(big), std::nullopt);
  const auto node =
      ParseNode(NodeWith(R"("annotations":{"a":")" + big + R"("},"labels":{"a/b":"1"})"));
  ASSERT_TRUE(node);
  EXPECT_EQ(node->labels, (LabelMap{{"a/b", "1"}}));
}

TEST(ParseStatus, NamesTheManagersThatHoldALabelWithAnotherValue) {
  const ApiStatus status = ParseStatus(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
      R"("message":"Apply failed with 3 conflicts: conflicts with \"kubectl-label\" using v1:\n)"
      R"(- .metadata.labels.beta.devicetree.org/acme-npu\n)"
      R"(- .metadata.labels.beta.devicetree.org/other\nconflicts with \"other-applier\":\n)"
      R"(- .metadata.labels.beta.devicetree.org/acme-two","reason":"Conflict","details":{"causes":[)"
      R"({"reason":"FieldManagerConflict","message":"conflict with \"kubectl-label\" using v1",)"
      R"("field":".metadata.labels.beta.devicetree.org/acme-npu"},)"
      R"({"reason":"FieldManagerConflict","message":"conflict with \"kubectl-label\" using v1",)"
      R"("field":".metadata.labels.beta.devicetree.org/other"},)"
      R"({"reason":"FieldManagerConflict","message":"conflict with \"other-applier\"",)"
      R"("field":".metadata.labels.beta.devicetree.org/acme-two"}]},"code":409})");
  EXPECT_THAT(status.conflicts,
              ElementsAre(FieldConflict{"beta.devicetree.org/acme-npu", "kubectl-label"},
                          FieldConflict{"beta.devicetree.org/other", "kubectl-label"},
                          FieldConflict{"beta.devicetree.org/acme-two", "other-applier"}));
  EXPECT_TRUE(status.message.starts_with("Apply failed with 3 conflicts: "));
  EXPECT_FALSE(status.about_uid);
  EXPECT_THAT(status.label_causes, IsEmpty());
}

TEST(ParseStatus, AConflictOverAnotherFieldIsNoneOfALabel) {
  const ApiStatus status = ParseStatus(
      R"({"message":"m","reason":"Conflict","details":{"causes":[{"reason":"FieldManagerConflict",)"
      R"("message":"conflict with \"kubelet\" using v1","field":".spec.unschedulable"}]}})");
  EXPECT_THAT(status.conflicts, IsEmpty());
  EXPECT_FALSE(status.about_uid);
}

TEST(ParseStatus, AManagerWithoutANameIsUnknown) {
  const auto manager_in = [](const std::string& message) {
    return ParseStatus(R"({"reason":"Conflict","details":{"causes":[{)"
                       R"("reason":"FieldManagerConflict","message":)" +
                       message + R"(,"field":".metadata.labels.a/b"}]}})")
        .conflicts.at(0)
        .manager;
  };
  EXPECT_EQ(manager_in(R"("conflict")"), "unknown");
  EXPECT_EQ(manager_in(R"("conflict with \"kubectl")"), "unknown");
  EXPECT_EQ(manager_in("null"), "unknown");
  EXPECT_EQ(manager_in(R"("conflict with \"kubelet\" with subresource \"status\" using v1")"),
            "kubelet");
}

TEST(ParseStatus, AnApplyForANodeThatIsGoneIsAboutTheUid) {
  const ApiStatus status = ParseStatus(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",)"
      R"("message":"Operation cannot be fulfilled on nodes \"edge-2\": uid mismatch: the provided )"
      R"(object specified uid 123b4815-cf98-4478-9ca5-7ad4fe86311d, and no existing object was )"
      R"(found","reason":"Conflict","details":{"name":"edge-2","kind":"nodes"},"code":409})");
  EXPECT_TRUE(status.about_uid);
  EXPECT_THAT(status.conflicts, IsEmpty());
}

TEST(ParseStatus, APatchOfANodeThatWasCreatedAnewIsAboutTheUid) {
  const ApiStatus status = ParseStatus(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Node )"
      R"(\"edge-1\" is invalid: metadata.uid: Invalid value: )"
      R"(\"00000000-0000-0000-0000-000000000000\": field is immutable","reason":"Invalid",)"
      R"("details":{"name":"edge-1","kind":"Node","causes":[{"reason":"FieldValueInvalid",)"
      R"("message":"Invalid value: \"00000000-0000-0000-0000-000000000000\": field is immutable",)"
      R"("field":"metadata.uid"},{"reason":"FieldValueInvalid","message":"Invalid value: )"
      R"(\"00000000-0000-0000-0000-000000000000\": field is immutable","field":"metadata.uid"}]},)"
      R"("code":422})");
  EXPECT_TRUE(status.about_uid);
  EXPECT_THAT(status.label_causes, IsEmpty());
}

TEST(ParseStatus, TellsWhatIsSaidOfTheLabels) {
  const ApiStatus status = ParseStatus(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Node )"
      R"(\"edge-1\" is invalid: metadata.labels: Invalid value: \"beta.devicetree.org/acme_npu-\": )"
      R"(name part must consist of alphanumeric characters","reason":"Invalid","details":{)"
      R"("name":"edge-1","kind":"Node","causes":[{"reason":"FieldValueInvalid","message":"Invalid )"
      R"(value: \"beta.devicetree.org/acme_npu-\": name part must consist of alphanumeric )"
      R"(characters","field":"metadata.labels"},{"reason":"FieldValueInvalid","message":"Invalid )"
      R"(value: \"b ad\": a valid label must be an empty string","field":"metadata.labels"}]},)"
      R"("code":422})");
  EXPECT_FALSE(status.about_uid);
  EXPECT_THAT(status.label_causes,
              ElementsAre(R"(Invalid value: "beta.devicetree.org/acme_npu-": name part must )"
                          R"(consist of alphanumeric characters)",
                          R"(Invalid value: "b ad": a valid label must be an empty string)"));
}

TEST(ParseStatus, OfAMissingRightHasTheServersWords) {
  const ApiStatus status = ParseStatus(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"nodes )"
      R"(\"edge-1\" is forbidden: User \"system:serviceaccount:devicetree-exporter:other\" cannot )"
      R"(patch resource \"nodes\" in API group \"\" at the cluster scope","reason":"Forbidden",)"
      R"("details":{"name":"edge-1","kind":"nodes"},"code":403})");
  EXPECT_EQ(
      status.message,
      R"(nodes "edge-1" is forbidden: User "system:serviceaccount:devicetree-exporter:other" )"
      R"(cannot patch resource "nodes" in API group "" at the cluster scope)");
  EXPECT_FALSE(status.about_uid);
}

TEST(ParseStatus, OfAnAdmissionPolicyHasItsWordsAndNoLabels) {
  for (const std::string reason : {"Forbidden", "Invalid"}) {
    const std::string words =
        "ValidatingAdmissionPolicy 'devicetree-exporter' with binding 'devicetree-exporter' denied "
        "request: the exporter may only change labels under beta.devicetree.org/";
    const ApiStatus status = ParseStatus(
        R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"nodes )"
        R"(\"edge-1\" is forbidden: )" +
        words + R"(","reason":")" + reason +
        R"(","details":{"name":"edge-1","kind":"nodes","causes":[{"message":")" + words +
        R"("}]}})");
    EXPECT_EQ(status.message, "nodes \"edge-1\" is forbidden: " + words);
    EXPECT_FALSE(status.about_uid) << reason;
    EXPECT_THAT(status.label_causes, IsEmpty()) << reason;
    EXPECT_THAT(status.conflicts, IsEmpty()) << reason;
  }
}

TEST(ParseStatus, OfPlainTextIsThatText) {
  // Of a server that has too many requests in flight.
  EXPECT_THAT(ParseStatus("Too many requests, please try again later.\n").message,
              ::testing::StartsWith("Too many requests, please try again later."));
  EXPECT_EQ(ParseStatus("").message, "");
  EXPECT_EQ(ParseStatus("<html>502</html>").message, "<html>502</html>");
  EXPECT_EQ(ParseStatus("[]").message, "[]");
}

TEST(ParseStatus, CutsALongMessage) {
  EXPECT_EQ(ParseStatus(std::string(4 << 20, 'x')).message, std::string(300, 'x'));
  EXPECT_EQ(ParseStatus(R"({"message":")" + std::string(400, 'y') + R"("})").message,
            std::string(300, 'y'));
}

TEST(ParseStatus, LeavesOutWhatIsOfAnotherType) {
  for (const char* body :
       {"null", "1", "[[]]", "{}", R"({"message":1})", R"({"details":null})",
        R"({"details":{"causes":null}})", R"({"details":{"causes":"x"}})",
        R"({"details":{"causes":7}})", R"({"details":{"causes":{"field":"metadata.uid"}}})",
        R"({"details":{"causes":[null,1,"metadata.uid",[{"field":"metadata.uid"}]]}})",
        R"({"details":{"causes":[{"field":["metadata.uid"],"reason":1}]}})",
        R"({"reason":["Conflict"]})"}) {
    const ApiStatus status = ParseStatus(body);
    EXPECT_FALSE(status.about_uid) << body;
    EXPECT_THAT(status.conflicts, IsEmpty()) << body;
    EXPECT_THAT(status.label_causes, IsEmpty()) << body;
    EXPECT_EQ(status.message, body);
  }
}

TEST(ParseStatus, TakesAnyDepthAndAnyByte) {
  EXPECT_EQ(ParseStatus(DeepArrays()).message, std::string(300, '['));
  EXPECT_EQ(ParseStatus(DeepObjects()).message.size(), 300U);
  EXPECT_EQ(ParseStatus(std::string("\xff\0\n", 3)).message, std::string("\xff\0\n", 3));
}

TEST(ApplyBody, IsTheNodeWithItsUidAndTheseLabels) {
  EXPECT_EQ(ApplyBody("edge-1", "u-1", {{"b.org/y", "1"}, {"b.org/x", ""}}),
            R"({"apiVersion":"v1","kind":"Node","metadata":{"labels":{"b.org/x":"","b.org/y":"1"},)"
            R"("name":"edge-1","uid":"u-1"}})");
}

TEST(ApplyBody, OfNoLabelsSaysSo) {
  EXPECT_EQ(ApplyBody("edge-1", "u-1", {}),
            R"({"apiVersion":"v1","kind":"Node","metadata":{"labels":{},"name":"edge-1",)"
            R"("uid":"u-1"}})");
}

TEST(ApplyBody, IsPlainAsciiWhateverStandsInIt) {
  const std::string body = ApplyBody("a", "\u00fc\"\n", {{"b/\xff", "\u2028"}});
  EXPECT_EQ(body, R"({"apiVersion":"v1","kind":"Node","metadata":{"labels":{"b/\ufffd":"\u2028"},)"
                  R"("name":"a","uid":"\u00fc\"\n"}})");
}

TEST(RemovalBody, SetsTheKeysToNull) {
  EXPECT_EQ(RemovalBody("u-1", {"b.org/y", "b.org/x"}),
            R"({"metadata":{"labels":{"b.org/x":null,"b.org/y":null},"uid":"u-1"}})");
}

TEST(AdoptionBody, LeavesWhatIsUnderThePrefixToOurApplyAlone) {
  const NodeMetadata node = ParseNode(kNode).value();
  EXPECT_EQ(AdoptionBody(node, "beta.devicetree.org", {"beta.devicetree.org/acme-two"}),
            R"({"metadata":{"labels":{"beta.devicetree.org/acme-two":null},"managedFields":[{)"
            R"("apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{)"
            R"("f:beta.devicetree.org/acme-board":{}}}},"manager":"devicetree-exporter",)"
            R"("operation":"Apply","time":"2026-11-24T02:21:06Z"}],"resourceVersion":"204",)"
            R"("uid":"9b833533-4cff-47bd-94ee-08df0d4c3cb5"}})");
}

TEST(AdoptionBody, LeavesAllElseToWhoHoldsIt) {
  const NodeMetadata node =
      ParseNode(
          NodeWith(
              R"("managedFields":[{"manager":"kubelet","operation":"Update","subresource":"status",)"
              R"("fieldsV1":{"f:status":{"f:images":{}}}},{"manager":"a","operation":"Update","fieldsV1":{)"
              R"("f:metadata":{"f:annotations":{"f:b.org/x":{}},"f:labels":{".":{},"f:b.org/x":{},)"
              R"("f:b.orgy/x":{},"f:c":{}}},"f:spec":{"f:taints":{}}}},{"manager":"b","operation":"Update",)"
              R"("fieldsV1":{"f:metadata":{"f:annotations":{},"f:labels":{".":{},"f:b.org/x":{}}}}}])"))
          .value();
  EXPECT_EQ(
      AdoptionBody(node, "b.org", {}),
      R"({"metadata":{"managedFields":[{"fieldsV1":{"f:status":{"f:images":{}}},)"
      R"("manager":"kubelet","operation":"Update","subresource":"status"},{"fieldsV1":{)"
      R"("f:metadata":{"f:annotations":{"f:b.org/x":{}},"f:labels":{".":{},"f:b.orgy/x":{},)"
      R"("f:c":{}}},"f:spec":{"f:taints":{}}},"manager":"a","operation":"Update"},{"fieldsV1":{)"
      R"("f:metadata":{"f:annotations":{}}},"manager":"b","operation":"Update"}],)"
      R"("resourceVersion":"1","uid":"u"}})");
}

TEST(AdoptionBody, LeavesWhatIsYieldedToWhoHoldsIt) {
  const NodeMetadata node = ParseNode(NodeWith(Entry("kubectl-label", "Update"))).value();
  EXPECT_EQ(AdoptionBody(node, "a", {}, {"a/b"}), std::nullopt);
  EXPECT_EQ(AdoptionBody(node, "a", {"a/c"}, {"a/b"}),
            R"({"metadata":{"labels":{"a/c":null},"managedFields":[{"fieldsV1":{"f:metadata":{)"
            R"("f:labels":{".":{},"f:a/b":{}}}},"manager":"kubectl-label","operation":"Update"}],)"
            R"("resourceVersion":"1","uid":"u"}})");
}

TEST(AdoptionBody, IsNoneWhereNothingIsToBeDone) {
  const NodeMetadata ours = ParseNode(NodeWith(Entry("devicetree-exporter", "Apply"))).value();
  EXPECT_EQ(AdoptionBody(ours, "a", {}), std::nullopt);
  const NodeMetadata others = ParseNode(NodeWith(Entry("kubectl", "Update"))).value();
  EXPECT_EQ(AdoptionBody(others, "b", {}), std::nullopt);
  EXPECT_NE(AdoptionBody(others, "a", {}), std::nullopt);
}

TEST(AdoptionBody, TakesWhateverAServerSaysOfOwners) {
  for (const char* managed_fields :
       {"null", "7", "\"x\"", "{}", "[]", "[null]", "[[]]", "[7,\"x\"]", R"([{"fieldsV1":7}])",
        R"([{"fieldsV1":{"f:metadata":[]}}])", R"([{"fieldsV1":{"f:metadata":{"f:labels":7}}}])",
        R"({"a":{"fieldsV1":{"f:metadata":{"f:labels":{"f:a/b":{}}}}}})"}) {
    const auto node = ParseNode(NodeWith(R"("managedFields":)" + std::string(managed_fields)));
    ASSERT_TRUE(node) << managed_fields;
    AdoptionBody(*node, "a", {});
    EXPECT_TRUE(AdoptionBody(*node, "a", {"a/b"})) << managed_fields;
  }
}

TEST(ParseWatchEvent, OfAChangeHasTheNode) {
  for (const char* type : {"ADDED", "MODIFIED"}) {
    const auto event = ParseWatchEvent(R"({"type":")" + std::string(type) + R"(","object":)" +
                                       std::string(kNode) + "}\n");
    ASSERT_TRUE(event) << type;
    EXPECT_EQ(event->type, WatchEvent::Type::kChanged);
    EXPECT_EQ(event->node, ParseNode(kNode));
  }
}

TEST(ParseWatchEvent, OfADeletionHasNoNode) {
  const auto event = ParseWatchEvent(R"({"type":"DELETED","object":)" + std::string(kNode) + "}");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, WatchEvent::Type::kDeleted);
  EXPECT_EQ(event->node, std::nullopt);
}

TEST(ParseWatchEvent, OfABookmarkHasNoNode) {
  const auto event = ParseWatchEvent(
      R"({"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",)"
      R"("metadata":{"resourceVersion":"219","annotations":{"k8s.io/initial-events-end":"true"}}}})");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, WatchEvent::Type::kBookmark);
  EXPECT_EQ(event->node, std::nullopt);
}

TEST(ParseWatchEvent, OfAnErrorHasItsWords) {
  const auto event = ParseWatchEvent(
      R"({"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},)"
      R"("status":"Failure","message":"The resourceVersion for the provided watch is too old.",)"
      R"("reason":"Expired","code":410}})");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, WatchEvent::Type::kError);
  EXPECT_EQ(event->message, "The resourceVersion for the provided watch is too old.");
  EXPECT_EQ(event->node, std::nullopt);
}

TEST(ParseWatchEvent, IsNoneOfAnythingElse) {
  for (const std::string_view line :
       {"",
        "\n",
        "null",
        "[]",
        "{}",
        "\xff",
        "7",
        "\"ADDED\"",
        R"({"type":null})",
        R"({"type":7})",
        R"({"type":["ADDED"]})",
        R"({"type":"added"})",
        R"({"type":"PATCHED","object":{}})",
        R"({"type":"ADDED"})",
        R"({"type":"ADDED","object":null})",
        R"({"type":"ADDED","object":[]})",
        R"({"type":"MODIFIED","object":{"metadata":{}}})",
        R"({"type":"MODIFIED","object":{"metadata":{"name":"a","uid":"u"}}})",
        R"({"type":"ADDED","object":"x"}{"type":"ADDED"})",
        R"({"kind":"Status","apiVersion":"v1","status":"Failure","code":410})"}) {
    EXPECT_FALSE(ParseWatchEvent(line)) << line;
  }
}

TEST(ParseWatchEvent, TakesAnyDepthByteAndSize) {
  EXPECT_FALSE(ParseWatchEvent(DeepArrays()));
  EXPECT_FALSE(ParseWatchEvent(R"({"type":"ADDED","object":)" + DeepObjects() + "}"));
  EXPECT_FALSE(ParseWatchEvent("{\"type\":\"ERROR\",\"object\":{\"message\":\"\xc3\x28\"}}"));
  const std::string big(4 << 20, 'x');
  const auto event = ParseWatchEvent(R"({"type":"ERROR","object":{"message":")" + big + R"("}})");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->message.size(), big.size());
  for (const char* object : {"null", "7", "[]", "{}", R"({"message":7})", R"("gone")"}) {
    const auto bare = ParseWatchEvent(R"({"type":"ERROR","object":)" + std::string(object) + "}");
    ASSERT_TRUE(bare) << object;
    EXPECT_EQ(bare->type, WatchEvent::Type::kError);
    EXPECT_EQ(bare->message, "") << object;
  }
}

}  // namespace
}  // namespace exporter
