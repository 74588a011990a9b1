// The bytes of handshakes, descriptors and shm attachments, as they were first published (make_files.py writes them
// without wsync). A change here is a change of format: raise its version.
#include "transport/shm/attach_frames.hpp"
#include "transport/wire/descriptor.hpp"
#include "transport/wire/handshake_codec.hpp"

#include "result_matchers.hpp"

#include <fstream>
#include <iterator>

namespace wsync {
namespace {

using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

Bytes golden(const std::string& name) {
    std::ifstream file(WSYNC_SOURCE_DIR "/tests/golden/transport/" + name + "-1.0.bin", std::ios::binary);
    EXPECT_TRUE(file.is_open()) << name;
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = as_bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

template <class Array>
Array counting_from(int first) {
    Array array{};
    for (auto& byte : array) byte = static_cast<std::byte>(first++);
    return array;
}
const Nonce kClient = counting_from<Nonce>(0), kServer = counting_from<Nonce>(100);

ProcessIdentity process() {
    ProcessIdentity identity;
    identity.boot_id = "83f622ba-3c0f-4ca3-a34a-a8409beb401f";
    identity.host = "node-7";
    identity.pid_namespace = 4026531836;
    identity.pid = 4711;
    identity.start_ticks = 123456;
    return identity;
}

// Truncated, followed by something, of another minor, of another major, of another kind.
template <class Decode>
void refuses_what_it_must(const Bytes& bytes, Decode decode) {
    for (std::size_t length = 0; length < bytes.size(); ++length) EXPECT_THAT(decode(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length))), HasCode(Code::corrupt));
    Bytes changed = bytes;
    changed.push_back(std::byte{});
    EXPECT_THAT(decode(changed), HasCode(Code::corrupt));
    changed[6] = std::byte{1};
    EXPECT_OK(decode(changed));
    changed[4] = std::byte{2};
    EXPECT_THAT(decode(changed), HasError(Code::unsupported, "2.1"));
    changed[0] = std::byte{'X'};
    EXPECT_THAT(decode(changed), HasCode(Code::corrupt));
}

TEST(HandshakeGolden, EveryMessage) {
    const Secret secret = counting_from<Secret>(0);
    const std::pair<std::string, HandshakeMessage> messages[] = {
        {"handshake-hello", Hello{"shm", kClient}},
        {"handshake-challenge", Challenge{kServer}},
        {"handshake-client-proof", Proof{handshake_proof(secret, Role::client, kClient, kServer, "shm")}},
        {"handshake-server-proof", Proof{handshake_proof(secret, Role::server, kClient, kServer, "shm")}},
        {"handshake-refusal", Refusal::wrong_secret}};
    for (const auto& [name, message] : messages) {
        const auto bytes = golden(name);
        EXPECT_EQ(bytes, encode(message)) << name;
        const auto back = decode_handshake(bytes);
        ASSERT_OK(back) << name;
        EXPECT_EQ(message.index(), back->index()) << name;
        EXPECT_EQ(bytes, encode(*back)) << name;
        refuses_what_it_must(bytes, [](const Bytes& any) { return decode_handshake(any); });
    }
}

TEST(DescriptorGolden, ATcpRegion) {
    ServedRegion region;
    region.transport = "tcp";
    region.process = process();
    region.region_bytes = std::uint64_t{1} << 33;
    region.kind = MemoryKind::shared;
    region.allow_write = true;
    region.nonce = kServer;
    region.endpoints = {{"tcp:10.0.0.7:4711"}, {"tcp:[fd00::7]:4711"}};
    region.extra = {std::byte{42}, std::byte{0}};
    const auto bytes = golden("descriptor");
    EXPECT_EQ(bytes, encode_descriptor(region).value().bytes);
    const auto back = decode_descriptor({"tcp", bytes}, "tcp");
    ASSERT_OK(back);
    EXPECT_EQ(region.process, back->process);
    EXPECT_EQ(region.region_bytes, back->region_bytes);
    EXPECT_EQ(region.kind, back->kind);
    EXPECT_TRUE(back->allow_write);
    EXPECT_EQ(region.nonce, back->nonce);
    ASSERT_EQ(2U, back->endpoints.size());
    EXPECT_EQ("tcp:[fd00::7]:4711", back->endpoints[1].address);
    EXPECT_EQ(region.extra, back->extra);
    refuses_what_it_must(bytes, [](const Bytes& any) { return decode_descriptor({"tcp", any}, "tcp"); });
}

TEST(DescriptorGolden, HasBounds) {
    ServedRegion region;
    region.transport = "tcp";
    EXPECT_THAT(encode_descriptor(region), HasError(Code::invalid_argument, "endpoints"));
    region.endpoints.resize(9);
    EXPECT_THAT(encode_descriptor(region), HasCode(Code::invalid_argument));
    region.endpoints.resize(8);
    EXPECT_OK(encode_descriptor(region));
    region.endpoints[0].address.assign(513, 'x');
    EXPECT_THAT(encode_descriptor(region), HasCode(Code::invalid_argument));
    region.endpoints[0].address.assign(512, 'x');
    EXPECT_OK(encode_descriptor(region));
    for (auto& endpoint : region.endpoints) endpoint.address.assign(512, 'x');
    EXPECT_THAT(encode_descriptor(region), HasError(Code::invalid_argument, "4096"));
    region.endpoints.resize(1);
    region.extra.resize(1025);
    EXPECT_THAT(encode_descriptor(region), HasCode(Code::invalid_argument));
    EXPECT_THAT(decode_descriptor({"shm", golden("descriptor")}, "shm"), HasError(Code::corrupt, "says inside"));
    EXPECT_THAT(decode_descriptor({"tcp", golden("descriptor")}, "shm"), HasCode(Code::invalid_argument));
}

TEST(ShmGolden, RequestAndGrant) {
    const auto request = golden("shm-request");
    EXPECT_EQ(request, shm::encode(shm::AttachRequest{kServer, process()}));
    const auto back = shm::decode_request(request);
    ASSERT_OK(back);
    EXPECT_EQ(kServer, back->nonce);
    EXPECT_EQ(process(), back->importer);
    refuses_what_it_must(request, [](const Bytes& any) { return shm::decode_request(any); });
    const auto grant = golden("shm-grant");
    EXPECT_EQ(grant, shm::encode(shm::Grant{shm::GrantAnswer::granted}));
    EXPECT_EQ(shm::GrantAnswer::granted, shm::decode_grant(grant).value().answer);
    refuses_what_it_must(grant, [](const Bytes& any) { return shm::decode_grant(any); });
}

}  // namespace
}  // namespace wsync
