// A small model in a slab, written as versions of the store.
#pragma once

#include "memory/host_buffer.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"
#include "store/version_reader.hpp"
#include "store/version_writer.hpp"
#include "transport/file/file_transport.hpp"
#include "verify/block_digests.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

namespace wsync::testing {

// One rank's weights, every byte a function of `seed` and its place.
struct Weights {
    explicit Weights(std::vector<TensorSpec> tensors, std::uint64_t alignment = 64, std::uint64_t shift = 0)
        : layout(Layout::replicated(Manifest::make(std::move(tensors)).value()).value()), placement(pack(layout, 0, alignment).value()) {
        for (ShardPlace& place : placement.places) place.offset += shift;
        placement.region_bytes[0] += shift;
        HostBufferOptions options;
        options.bytes = std::max<std::uint64_t>(placement.region_bytes[0], 1);
        options.huge_pages = false;
        buffer = HostBuffer::make(options).value();
        regions = {HostBuffer::region(buffer)};
    }
    void fill(std::uint64_t seed) {
        std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
        for (std::byte& byte : buffer->bytes()) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            byte = static_cast<std::byte>(state >> 56);
        }
    }
    [[nodiscard]] VersionContent content() const { return {&layout, &placement, regions, nullptr}; }
    [[nodiscard]] std::span<std::byte> tensor(std::size_t shard) const {
        const Shard& s = layout.shards_of(0)[shard];
        return buffer->bytes().subspan(placement.places[shard].offset, s.box.bytes(layout.manifest()[s.tensor].dtype));
    }

    Layout layout;
    Placement placement;
    std::shared_ptr<HostBuffer> buffer;
    std::vector<Region> regions;
};

inline std::vector<TensorSpec> small_tensors() {
    return {{"embed", DType::bf16, {1000, 300}}, {"layer.0.weight", DType::f32, {400, 700}}, {"layer.0.bias", DType::f32, {700}},
            {"scale", DType::f32, {}},           {"nothing", DType::f32, {0, 5}},            {"head", DType::bf16, {300, 1000}}};
}

// Everything a store test needs: a directory, the file system with the file transport, the weights.
struct StoreFixture : ::testing::Test {
    StoreFixture() : transport(make_file_transport({}).value()), files(make_file_system(transport.get())), weights(small_tensors()) {}

    [[nodiscard]] WriteVersionOptions options(std::uint64_t number, std::uint64_t epoch = 1) const {
        WriteVersionOptions o;
        o.root = directory.path();
        o.version.name = "policy";
        o.version.run = "run-1";
        o.version.epoch = epoch;
        o.version.number = number;
        o.version.step = 10 * number;
        o.version.parent = number - 1;
        return o;
    }
    Result<WrittenVersion> write(std::uint64_t number) {
        weights.fill(number);
        return write_version(*files, options(number), weights.content());
    }
    // Whether the opened version is exactly what fill(seed) gives.
    [[nodiscard]] ::testing::AssertionResult holds(const StoredVersion& stored, std::uint64_t seed) {
        weights.fill(seed);
        const auto expected = digest_shards(weights.layout, 0, weights.placement, weights.regions, default_kernels(), 1).value();
        if (stored.checkpoint.layout.digest() != weights.layout.digest()) return ::testing::AssertionFailure() << "another layout";
        if (stored.digests != expected) return ::testing::AssertionFailure() << "other digests than those of seed " << seed;
        return ::testing::AssertionSuccess();
    }

    TemporaryDirectory directory;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<FileSystem> files;
    Weights weights;
};

// Of the entries of a directory, sorted.
inline std::vector<std::string> entry_names(const std::string& path) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

inline void put_text(const std::string& path, const std::string& text) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << text;
    ASSERT_TRUE(out.good()) << path;
}

inline void flip_byte(const std::string& path, std::uint64_t offset) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    char c = 0;
    ASSERT_EQ(::pread(fd.get(), &c, 1, static_cast<off_t>(offset)), 1) << path;
    c = static_cast<char>(c ^ 0x40);
    ASSERT_EQ(::pwrite(fd.get(), &c, 1, static_cast<off_t>(offset)), 1);
}

}  // namespace wsync::testing
