// The bytes of a control folder's files, version 1.0: what is read today must be read by every later 1.x.
// The files were made by golden/control/make_files.py, which shares nothing with the code.
#include "control/directory/records.hpp"
#include "golden_file.hpp"
#include "result_matchers.hpp"

namespace wsync {
namespace {

using testing::expect_golden;
using testing::golden_bytes;

const ValueRecord kValue{"policy/e1/rank/0", 42, "0123456789abcdef0123456789abcdef", {std::byte{0}, std::byte{1}, std::byte{0xff}}};
const LeaseRecord kLease{"0123456789abcdef0123456789abcdef",
                         {"6c7d2f0e-0000-4000-8000-123456789abc", "trainer-1", 4026531836, 4321, 987654},
                         5'000'000'000,
                         7};

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
