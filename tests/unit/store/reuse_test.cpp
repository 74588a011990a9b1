// What writer and reader keep from version to version must never outlive what it was made for.
#include "store_fixture.hpp"

namespace wsync {
namespace {

using namespace testing;
using Reuse = StoreFixture;

TEST_F(Reuse, VersionsOfOneModelAndThenOfAnother) {
    VersionWriter writer(*files);
    VersionReader reader(*files);
    Weights other({{"embed", DType::bf16, {300, 1000}}, {"new", DType::u8, {7}}});
    Weights moved(small_tensors(), 4096);  // the same layout, another placement
    std::uint64_t number = 0;
    for (Weights* each : {&weights, &weights, &other, &weights, &moved, &moved}) {
        each->fill(++number);
        auto o = options(number);
        o.shard_bytes = number % 2 == 0 ? kDefaultShardBytes : 1 << 20;
        const auto written = writer.write(o, each->content());
        ASSERT_OK(written);
        const auto stored = reader.open(written->path);
        ASSERT_OK(stored);
        EXPECT_EQ(stored->checkpoint.layout.digest(), each->layout.digest());
        EXPECT_OK(check(stored->checkpoint.layout, 0, stored->checkpoint.placement));
        EXPECT_EQ(stored->digests, *digest_shards(each->layout, 0, each->placement, each->regions, default_kernels(), 1));
        EXPECT_OK(verify_version(*files, written->path));
        // As one who kept nothing sees it.
        const auto afresh = open_version(*files, written->path);
        ASSERT_OK(afresh);
        EXPECT_EQ(afresh->checkpoint.placement, stored->checkpoint.placement);
        EXPECT_EQ(afresh->checkpoint.files, stored->checkpoint.files);
    }
}

TEST_F(Reuse, DamageIsSeenThoughTheHeaderWasKnown) {
    VersionReader reader(*files);
    ASSERT_OK(write(1));
    ASSERT_OK(write(2));
    ASSERT_OK(reader.open(directory / "policy/v1.1"));
    flip_byte(directory / "policy/v1.2/model.safetensors", 20);
    EXPECT_THAT(reader.open(directory / "policy/v1.2"), HasCode(Code::corrupt));
    flip_byte(directory / "policy/v1.2/wsync.digests", 200);
    EXPECT_THAT(reader.open(directory / "policy/v1.2"), HasCode(Code::corrupt));
    EXPECT_OK(reader.open(directory / "policy/v1.1"));
}

}  // namespace
}  // namespace wsync
