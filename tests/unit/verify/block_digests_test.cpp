#include "verify/block_digests.hpp"

#include "result_matchers.hpp"
#include "unit/verify/host_region.hpp"
#include "verify/blocks.hpp"
#include "verify/mismatch.hpp"
#include "verify/version_digest.hpp"

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;
using testing::host_region;
using testing::pattern;

Manifest manifest() {
    return Manifest::make({{"big", DType::bf16, {1024, 1536}}, {"scalar", DType::f32, {}}, {"empty", DType::u8, {0}}, {"small", DType::f32, {64, 3}}}).value();
}

struct Held {
    Layout layout = Layout::replicated(manifest()).value();
    Placement placement = pack(layout, 0).value();
    std::vector<Region> regions{host_region(pattern(placement.region_bytes[0]))};
};

TEST(digest_shards, each_block_of_each_shard) {
    const Held held;
    const auto made = digest_shards(held.layout, 0, held.placement, held.regions, default_kernels(), 1).value();
    EXPECT_EQ(made.first, (std::vector<std::uint64_t>{0, 4, 5, 6}));  // 3 MiB in blocks of 341 rows, scalar, small
    ASSERT_EQ(made.digests.size(), 6u);
    const std::byte* begin = held.regions[0].address;
    const std::uint64_t rows = kBlockBytes / 3072;
    EXPECT_EQ(made.digests[1], digest_of(std::span(begin + rows * 3072, rows * 3072)));
    EXPECT_EQ(made.digests[4], digest_of(std::span(begin + held.placement.places[1].offset, 4)));
    EXPECT_EQ(made.digests[5], digest_of(std::span(begin + held.placement.places[2].offset, 768)));
    EXPECT_OK(check(made, held.layout, 0));
}

TEST(digest_shards, threads_and_kernels_give_the_same) {
    const Held held;
    const auto wanted = digest_shards(held.layout, 0, held.placement, held.regions, default_kernels(), 1).value();
    for (const KernelSet& kernels : available_kernels()) {
        for (unsigned threads : {0u, 1u, 2u, 5u}) {
            EXPECT_EQ(digest_shards(held.layout, 0, held.placement, held.regions, kernels, threads).value(), wanted) << kernels.name;
        }
    }
}

TEST(digest_shards, many_small_tensors_by_many_threads) {
    const Manifest m = [] {
        std::vector<TensorSpec> tensors;
        for (int i = 0; i < 5000; ++i) tensors.push_back({"t" + std::to_string(i), DType::u8, {static_cast<std::uint64_t>(i % 97)}});
        return Manifest::make(tensors).value();
    }();
    const Layout layout = Layout::replicated(m).value();
    const Placement placement = pack(layout, 0).value();
    const std::vector<Region> regions{host_region(pattern(placement.region_bytes[0]))};
    EXPECT_EQ(digest_shards(layout, 0, placement, regions, default_kernels(), 4).value(),
              digest_shards(layout, 0, placement, regions, default_kernels(), 1).value());
}

TEST(digest_shards, several_regions) {
    const Manifest m = Manifest::make({{"a", DType::u8, {100}}, {"b", DType::u8, {100}}}).value();
    const Layout layout = Layout::replicated(m).value();
    const Placement placement{{{1, 5}, {0, 7}}, {107, 105}};
    const std::vector<Region> regions{host_region(pattern(107, 2)), host_region(pattern(105, 3))};
    const auto made = digest_shards(layout, 0, placement, regions, default_kernels(), 2).value();
    EXPECT_EQ(made.digests[0], digest_of(std::span(regions[1].address + 5, 100)));
    EXPECT_EQ(made.digests[1], digest_of(std::span(regions[0].address + 7, 100)));
}

TEST(digest_shards, refuses_what_does_not_fit) {
    Held held;
    const auto digest = [&](std::uint32_t rank = 0) { return digest_shards(held.layout, rank, held.placement, held.regions, default_kernels(), 1); };
    EXPECT_THAT(digest(1), HasCode(Code::invalid_argument));
    held.regions[0].bytes -= 1;
    EXPECT_THAT(digest(), HasError(Code::invalid_argument, "is not inside region 0"));
    held.regions[0].bytes += 1;
    held.regions[0].kind = MemoryKind::device;
    EXPECT_THAT(digest(), HasError(Code::unsupported, "region 0 (device memory)"));
    held.regions.clear();
    EXPECT_THAT(digest(), HasError(Code::invalid_argument, "names region 0, 0 were given"));
    held.placement.places.pop_back();
    EXPECT_THAT(digest(), HasCode(Code::invalid_argument));
}

TEST(block_digests, round_trip) {
    const Held held;
    const auto made = digest_shards(held.layout, 0, held.placement, held.regions, default_kernels(), 1).value();
    EXPECT_EQ(decode_block_digests(encode(made)).value(), made);
    const BlockDigests none{{0}, {}};
    EXPECT_EQ(decode_block_digests(encode(none)).value(), none);
    EXPECT_EQ(decode_block_digests(encode(BlockDigests{})).value(), none) << "no shards either way";
}

TEST(block_digests, counts_that_nothing_backs_are_refused) {
    const auto with = [](std::uint32_t shards, std::vector<std::uint64_t> counts, std::size_t digests) {
        ByteWriter out;
        out.begin_record({"WSDL", 1, 0}).u32(shards);
        for (std::uint64_t count : counts) out.u64(count);
        for (std::size_t i = 0; i < digests; ++i) out.digest({});
        return decode_block_digests(out.view());
    };
    EXPECT_OK(with(2, {1, 2}, 3));
    EXPECT_THAT(with(2, {1, 2}, 2), HasError(Code::corrupt, "2 blocks of shard 1 do not follow"));
    EXPECT_THAT(with(2, {1, 2}, 4), HasError(Code::corrupt, "16 bytes too many"));
    EXPECT_THAT(with(~0U, {}, 0), HasCode(Code::corrupt));
    EXPECT_THAT(with(1, {~std::uint64_t{0}}, 1), HasCode(Code::corrupt));
    EXPECT_THAT(with(2, {std::uint64_t{1} << 63, std::uint64_t{1} << 63}, 1), HasCode(Code::corrupt));
}

TEST(check_block_digests, names_the_tensor) {
    const Held held;
    auto made = digest_shards(held.layout, 0, held.placement, held.regions, default_kernels(), 1).value();
    EXPECT_THAT(check(made, held.layout, 1), HasCode(Code::invalid_argument));
    made.digests.pop_back();
    EXPECT_THAT(check(made, held.layout, 0), HasError(Code::corrupt, "rank 0 has 5 digests, its shards 6 blocks"));
    made.first[1] = 3;
    EXPECT_THAT(check(made, held.layout, 0), HasError(Code::corrupt, "at tensor \"big\", box [0:1024, 0:1536]"));
    made.first.pop_back();
    EXPECT_THAT(check(made, held.layout, 0), HasError(Code::corrupt, "are of 2 shards, its layout has 3"));
    EXPECT_THAT(check({}, held.layout, 0), HasCode(Code::corrupt));
}

// Digests of all ranks of a layout whose tensors have these bytes.
std::vector<BlockDigests> digests_of(const Layout& layout, std::uint64_t seed = 1) {
    std::vector<BlockDigests> all;
    for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) {
        const Placement placement = pack(layout, rank, 1).value();
        std::vector<std::byte> bytes(placement.region_bytes[0]);
        const auto shards = layout.shards_of(rank);
        for (std::size_t i = 0; i < shards.size(); ++i) {
            // Cut along dimension 0 only: a shard is a range of the tensor.
            const TensorSpec& tensor = layout.manifest()[shards[i].tensor];
            const auto whole = pattern(tensor.bytes(), seed + shards[i].tensor);
            const std::uint64_t row = tensor.bytes() / tensor.shape[0];
            std::memcpy(bytes.data() + placement.places[i].offset, whole.data() + shards[i].box.offset[0] * row, shards[i].box.size[0] * row);
        }
        const std::vector<Region> regions{host_region(std::move(bytes))};
        all.push_back(digest_shards(layout, rank, placement, regions, default_kernels(), 1).value());
    }
    return all;
}

TEST(version_digest, does_not_depend_on_replicas_or_on_who_holds_what) {
    const Manifest m = Manifest::make({{"a", DType::bf16, {1024, 2048}}, {"b", DType::u8, {10}}}).value();
    const auto shards = [&](std::uint32_t first, std::uint32_t second) {
        return std::vector<Shard>{{first, 0, {{0, 0}, {600, 2048}}}, {second, 0, {{600, 0}, {424, 2048}}}, {first, 1, {{0}, {10}}}};
    };
    const Layout once = Layout::make(m, 2, shards(0, 1), Coverage::full).value();
    const Layout turned = Layout::make(m, 2, shards(1, 0), Coverage::full).value();
    auto both = shards(0, 1);
    for (Shard shard : shards(2, 3)) both.push_back(shard);
    const Layout twice = Layout::make(m, 4, both, Coverage::full).value();
    const Digest digest = version_digest(once, digests_of(once)).value();
    EXPECT_EQ(version_digest(turned, digests_of(turned)).value(), digest);
    EXPECT_EQ(version_digest(twice, digests_of(twice)).value(), digest);
    EXPECT_NE(version_digest(once, digests_of(once, 9)).value(), digest) << "other bytes";
    const Layout whole = Layout::replicated(m).value();
    EXPECT_NE(version_digest(whole, digests_of(whole)).value(), digest) << "another cut";
    const Manifest renamed = Manifest::make({{"A", DType::bf16, {1024, 2048}}, {"b", DType::u8, {10}}}).value();
    const Layout other = Layout::make(renamed, 2, shards(0, 1), Coverage::full).value();
    EXPECT_NE(version_digest(other, digests_of(other)).value(), digest) << "another name";
}

TEST(version_digest, replicas_must_agree) {
    const Manifest m = Manifest::make({{"a", DType::bf16, {1024, 2048}}, {"b", DType::u8, {10}}}).value();
    const Layout layout = Layout::replicated(m, 3).value();
    auto all = digests_of(layout);
    EXPECT_OK(check_replicas(layout, all));
    all[2].digests[1].bytes[0] ^= 1;
    const auto differs = HasError(Code::corrupt, "tensor \"a\", box [256:512, 0:2048]: ranks 0 and 2 hold replicas that differ");
    EXPECT_THAT(check_replicas(layout, all), differs);
    EXPECT_THAT(version_digest(layout, all), differs);
    all.pop_back();
    EXPECT_THAT(version_digest(layout, all), HasError(Code::invalid_argument, "digests of 2 ranks"));
    all.emplace_back();
    EXPECT_THAT(version_digest(layout, all), HasCode(Code::corrupt));
}

TEST(mismatch_error, names_tensor_box_and_bytes) {
    const Error error = mismatch_error({"lm_head.weight", {{0, 8}, {4, 8}}, 64, 128});
    EXPECT_EQ(error.to_string(), "corrupt: tensor \"lm_head.weight\", box [0:4, 8:16], bytes 64..192: digest differs from the publisher's");
}

}  // namespace
}  // namespace wsync
