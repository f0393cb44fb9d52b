#include "exporter/uevents.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace exporter {
namespace {

const std::set<std::string, std::less<>> kSubsystems = {"pci", "usb", "drm"};
constexpr std::string_view kInitial = "         0\t         0 4294967295\n";

// A message as lib/kobject_uevent.c writes it.
std::string Message(const std::string& action, const std::string& subsystem) {
  const std::string device = "/devices/pci0000:00/0000:01:00.0";
  std::string message;
  for (const std::string& field :
       {action + "@" + device, "ACTION=" + action, "DEVPATH=" + device, "SUBSYSTEM=" + subsystem,
        std::string("MODALIAS=pci:v00001AC1"), std::string("SEQNUM=4711")}) {
    message += field + '\0';
  }
  return message;
}

TEST(ConcernsHardware, OnlyWhenADeviceComesGoesOrChangesItsDriver) {
  for (const char* action : {"add", "remove", "bind", "unbind"}) {
    EXPECT_TRUE(ConcernsHardware(Message(action, "pci"), kSubsystems)) << action;
  }
  for (const char* action : {"change", "move", "online", "offline", "", "adds", "ADD"}) {
    EXPECT_FALSE(ConcernsHardware(Message(action, "pci"), kSubsystems)) << action;
  }
}

TEST(ConcernsHardware, OnlyOfTheSubsystemsThatWereNamed) {
  EXPECT_TRUE(ConcernsHardware(Message("add", "usb"), kSubsystems));
  EXPECT_TRUE(ConcernsHardware(Message("add", "drm"), kSubsystems));
  for (const char* subsystem : {"net", "block", "", "pci_bus", "pc", "PCI"}) {
    EXPECT_FALSE(ConcernsHardware(Message("add", subsystem), kSubsystems)) << subsystem;
  }
  EXPECT_FALSE(ConcernsHardware(Message("add", "pci"), {}));
}

TEST(ConcernsHardware, WhereverTheFieldsStand) {
  const std::string message("add@/x\0SUBSYSTEM=pci\0SEQNUM=1\0ACTION=add\0", 42);
  EXPECT_TRUE(ConcernsHardware(message, kSubsystems));
}

TEST(ConcernsHardware, NotByWhatStandsInOtherFields) {
  const std::string_view messages[] = {
      {"add@/x\0XACTION=add\0SUBSYSTEM=pci\0", 34},
      {"add@/x\0DEVPATH=ACTION=add\0SUBSYSTEM=pci\0", 41},
      {"add@/x\0ACTION=add\0XSUBSYSTEM=pci\0", 34},
      {"add@/ACTION=add\0SUBSYSTEM=pci\0", 30},
  };
  for (const std::string_view message : messages) {
    EXPECT_FALSE(ConcernsHardware(message, kSubsystems)) << message;
  }
}

TEST(ConcernsHardware, NotOfAMessageThatIsCutOffBeforeItSaysSo) {
  const std::string message = Message("add", "pci");
  const std::size_t said = message.find("SUBSYSTEM=pci") + std::string("SUBSYSTEM=pci").size();
  for (std::size_t size = 0; size <= message.size(); ++size) {
    EXPECT_EQ(ConcernsHardware(std::string_view(message).substr(0, size), kSubsystems),
              size >= said)
        << size;
  }
}

TEST(ConcernsHardware, NotOfHostileBytes) {
  const std::string messages[] = {"",
                                  std::string(8192, '\0'),
                                  std::string(8192, 'A'),
                                  std::string(8192, '='),
                                  "ACTION=",
                                  "SUBSYSTEM=",
                                  "libudev" + std::string(4, '\xfe')};
  for (const std::string& message : messages) {
    EXPECT_FALSE(ConcernsHardware(message, kSubsystems));
  }
}

TEST(UeventSocket, IsNotToBeHadOutsideTheInitialUserNamespace) {
  const std::string_view maps[] = {
      "         0     100000      65536\n",  // hostUsers: false
      "         0       1000          1\n",
      "      1000          0          1\n",
      "         0          0      65536\n",
      "         0          0 4294967295\n      1000       1000          1\n",
      "",
      "\n",
      "no map\n",
  };
  for (const std::string_view map : maps) {
    const auto socket = UeventSocket::Open(map);
    ASSERT_FALSE(socket) << map;
    EXPECT_EQ(socket.error().code, dt::ErrorCode::kNotFound);
    EXPECT_EQ(socket.error().message,
              "this user namespace is not the initial one, and gets no uevents");
  }
}

class OpenUeventSocket : public testing::Test {
 protected:
  void SetUp() override {
    const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (fd < 0) GTEST_SKIP() << "this machine gives no such socket";
    close(fd);
  }
};

TEST_F(OpenUeventSocket, NeedsNoPrivilegeAndDoesNotBlock) {
  const auto socket = UeventSocket::Open(kInitial);
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_GE(socket->fd(), 0);
  EXPECT_NE(fcntl(socket->fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(socket->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(OpenUeventSocket, ListensToTheKernelsGroupAlone) {
  const auto socket = UeventSocket::Open(kInitial);
  ASSERT_TRUE(socket) << socket.error().message;
  sockaddr_nl address{};
  socklen_t size = sizeof address;
  ASSERT_EQ(getsockname(socket->fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_EQ(address.nl_groups, 1U);  // 2 is udev's
}

TEST_F(OpenUeventSocket, WithoutAMessageDrainsAtOnce) {
  const auto socket = UeventSocket::Open(kInitial);
  ASSERT_TRUE(socket) << socket.error().message;
  EXPECT_FALSE(socket->Drain({"no-such-subsystem"}));
}

TEST_F(OpenUeventSocket, DoesNotBelieveOtherProcesses) {
  auto opened = UeventSocket::Open(kInitial);
  ASSERT_TRUE(opened) << opened.error().message;
  sockaddr_nl address{};
  socklen_t size = sizeof address;
  ASSERT_EQ(getsockname(opened->fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int sender = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  ASSERT_GE(sender, 0);
  address.nl_groups = 0;  // to its port alone
  const std::string message = Message("add", "no-such-subsystem");
  const ssize_t sent = sendto(sender, message.data(), message.size(), 0,
                              reinterpret_cast<const sockaddr*>(&address), sizeof address);
  close(sender);
  if (sent < 0) GTEST_SKIP() << "this kernel lets no process send";
  ASSERT_EQ(sent, static_cast<ssize_t>(message.size()));
  pollfd waiting{.fd = opened->fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&waiting, 1, 10'000), 1);  // it has arrived
  EXPECT_FALSE(opened->Drain({"no-such-subsystem"}));
}

TEST_F(OpenUeventSocket, ClosesWithItsOwnerOnly) {
  int fd = -1;
  {
    auto socket = UeventSocket::Open(kInitial);
    ASSERT_TRUE(socket) << socket.error().message;
    fd = socket->fd();
    const UeventSocket moved = std::move(socket).value();
    EXPECT_EQ(moved.fd(), fd);
    EXPECT_NE(fcntl(fd, F_GETFD), -1);
  }
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

}  // namespace
}  // namespace exporter
