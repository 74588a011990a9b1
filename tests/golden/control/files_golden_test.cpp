// The bytes of a control folder's files, version 1.0: what is read today must be read by every later 1.x.
// The files were made by golden/control/make_files.py, which shares nothing with the code.
#include "control/directory/records.hpp"
#include "record_checks.hpp"

namespace wsync {
namespace {

using testing::expect_golden;
using testing::golden_bytes;

const ValueRecord kValue{"policy/e1/rank/0", 42, "0123456789abcdef0123456789abcdef", {std::byte{0}, std::byte{1}, std::byte{0xff}}};
const LeaseRecord kLease{"0123456789abcdef0123456789abcdef",
                         {"6c7d2f0e-0000-4000-8000-123456789abc", "trainer-1", 4026531836, 4321, 987654},
                         5'000'000'000,
                         7};

// The file with its digest made good again: what another version would have written.
Bytes resealed(std::span<const std::byte> bytes, std::size_t behind, std::span<const std::byte> appended) {
    const auto body = bytes.first(bytes.size() - behind - sizeof(Digest));
    ByteWriter out;
    out.raw(body).raw(appended);
    const auto digest = digest_of(out.view());
    out.digest(digest).raw(bytes.last(behind));
    return out.take();
}

// A newer minor may have appended fields in front of the digest; another major is named before the digest is looked at.
template <class Decode>
void keeps_the_version_rule(const std::string& file, std::size_t behind, Decode decode) {
    auto bytes = testing::golden_record_bytes("control/" + file);
    const std::byte more[3] = {};
    EXPECT_THAT(decode(resealed(bytes, behind, more)), testing::HasCode(Code::corrupt));
    bytes[6] = std::byte{4};
    EXPECT_OK(decode(resealed(bytes, behind, more)));
    EXPECT_OK(decode(resealed(bytes, behind, {})));
    EXPECT_THAT(decode(bytes), testing::HasError(Code::corrupt, "digest"));
    bytes[4] = std::byte{2};
    EXPECT_THAT(decode(bytes), testing::HasError(Code::unsupported, "2.4"));
    EXPECT_THAT(decode(bytes), testing::HasError(Code::unsupported, "reads 1.x"));
    bytes[0] = std::byte{'X'};
    EXPECT_THAT(decode(bytes), testing::HasCode(Code::corrupt));
}

TEST(ControlGolden, EveryFileKeepsTheVersionRule) {
    keeps_the_version_rule("value.bin", 0, [](const Bytes& bytes) { return decode_value(bytes, "value.bin"); });
    keeps_the_version_rule("lease.bin", 16, [](const Bytes& bytes) { return decode_lease(bytes, "lease.bin"); });
    keeps_the_version_rule("lock.bin", 0, [](const Bytes& bytes) { return decode_lock(bytes, "lock.bin"); });
}

TEST(ControlGolden, value) {
    expect_golden("control/value.bin", encode(kValue));
    const auto read = decode_value(as_bytes_of(golden_bytes("control/value.bin")), "value.bin");
    ASSERT_OK(read);
    EXPECT_EQ(read->key, kValue.key);
    EXPECT_EQ(read->revision, kValue.revision);
    EXPECT_EQ(read->lease, kValue.lease);
    EXPECT_EQ(read->value, kValue.value);
}

TEST(ControlGolden, lease) {
    expect_golden("control/lease.bin", encode(kLease));
    const auto read = decode_lease(as_bytes_of(golden_bytes("control/lease.bin")), "lease.bin");
    ASSERT_OK(read);
    ASSERT_TRUE(read->has_value());
    EXPECT_EQ((*read)->id, kLease.id);
    EXPECT_EQ((*read)->owner, kLease.owner);
    EXPECT_EQ((*read)->time_to_live_ns, kLease.time_to_live_ns);
    EXPECT_EQ((*read)->counter, kLease.counter);
}

TEST(ControlGolden, lock) {
    expect_golden("control/lock.bin", encode(LockRecord{41}));
    const auto read = decode_lock(as_bytes_of(golden_bytes("control/lock.bin")), "lock.bin");
    ASSERT_OK(read);
    EXPECT_EQ(read->highest_removed, 41u);
}

}  // namespace
}  // namespace wsync
