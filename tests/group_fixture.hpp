// Several ranks' weights, cut in many ways, written as one version of the store.
#pragma once

#include "store/group_writer.hpp"
#include "store/stored_blocks.hpp"
#include "store_fixture.hpp"
#include "weights.hpp"

#include "wsync/model/mesh.hpp"

#include <algorithm>
#include <cstring>

namespace wsync::testing {

// What one rank of a layout holds: the same bytes of a tensor whichever rank holds them.
struct RankWeights {
    RankWeights(const Layout& l, std::uint32_t r) : layout(l), rank(r), placement(pack(l, r).value()) {
        HostBufferOptions options;
        options.bytes = std::max<std::uint64_t>(placement.bytes(), 1);
        options.huge_pages = false;
        buffer = HostBuffer::make(options).value();
        regions = {HostBuffer::region(buffer)};
    }
    void fill(std::uint64_t value) {
        const auto shards = layout.shards_of(rank);
        for (std::size_t i = 0; i < shards.size(); ++i) {
            const auto bytes = box_bytes(layout.manifest()[shards[i].tensor], shards[i].box, value);
            std::copy(bytes.begin(), bytes.end(), buffer->bytes().begin() + static_cast<std::ptrdiff_t>(placement.places[i].offset));
        }
    }
    [[nodiscard]] VersionContent content() const { return {&layout, &placement, regions, nullptr, rank}; }

    const Layout& layout;
    std::uint32_t rank;
    Placement placement;
    std::shared_ptr<HostBuffer> buffer;
    std::vector<Region> regions;
};

// All ranks of a layout, each with its writer. Different ranks may be used by different threads.
struct Group {
    Group(FileSystem& files, const Layout& l, const std::string& name) : layout(l) {
        for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) {
            ranks.push_back(std::make_unique<RankWeights>(layout, rank));
            writers.push_back(std::make_unique<GroupVersionWriter>(files, name));
        }
    }
    Result<WrittenPart> write(std::uint32_t rank, const WriteVersionOptions& options, std::uint64_t value) {
        ranks[rank]->fill(value);
        return writers[rank]->write(options, ranks[rank]->content());
    }
    void write_all(const WriteVersionOptions& options, std::uint64_t value) {
        for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) ASSERT_OK(write(rank, options, value));
    }
    Result<CommittedVersion> commit(std::uint32_t rank) { return writers[rank]->commit({}, {}, Deadline::now()); }

    Layout layout;
    std::vector<std::unique_ptr<RankWeights>> ranks;
    std::vector<std::unique_ptr<GroupVersionWriter>> writers;
};

struct GroupFixture : StoreFixture {
    // Rows, columns, replicas of shards, whole tensors here and there, and boxes of four dimensions.
    [[nodiscard]] std::vector<std::pair<std::string, Layout>> cuts() const {
        std::vector<std::pair<std::string, Layout>> all;
        MeshOptions rows;
        rows.fully_sharded = 3;
        all.emplace_back("rows", make_mesh_layout(model, rows).value());
        MeshOptions columns;
        columns.tensor_parallel = 2;
        columns.fully_sharded = 2;
        all.emplace_back("columns", make_mesh_layout(model, columns).value());
        MeshOptions replicas;
        replicas.replicas = 2;
        replicas.fully_sharded = 2;
        all.emplace_back("replicas", make_mesh_layout(model, replicas).value());
        std::vector<Shard> pipeline, boxes;
        for (std::uint32_t t = 0; t < model.size(); ++t) {
            const Dims& shape = model[t].shape;
            pipeline.push_back({t % 2, t, Box::whole(shape)});
            if (shape.size() < 2) {
                boxes.push_back({t % 3, t, Box::whole(shape)});
                continue;
            }
            // Along the last and the first dimension.
            const std::size_t last = shape.size() - 1;
            for (std::uint32_t rank = 0; rank < 4; ++rank) {
                Box box = Box::whole(shape);
                const auto cut = [&](std::size_t d, bool upper) {
                    const auto middle = shape[d] / 3;
                    box.offset[d] = upper ? middle : 0;
                    box.size[d] = upper ? shape[d] - middle : middle;
                };
                cut(0, rank % 2 == 1);
                cut(last, rank / 2 == 1);
                boxes.push_back({rank, t, box});
            }
        }
        all.emplace_back("pipeline", Layout::make(model, 2, pipeline, Coverage::full).value());
        all.emplace_back("boxes", Layout::make(model, 4, boxes, Coverage::full).value());
        return all;
    }
    // Whether the checkpoint at `path`, as stock loaders see it, has the whole tensors of `value`.
    [[nodiscard]] ::testing::AssertionResult holds_value(const std::string& path, const Manifest& manifest, std::uint64_t value) const {
        const auto checkpoint = open_checkpoint(*files, path);
        if (!checkpoint) return ::testing::AssertionFailure() << checkpoint.error().to_string();
        if (checkpoint->layout.manifest().size() != manifest.size()) return ::testing::AssertionFailure() << "other tensors";
        const auto shards = checkpoint->layout.shards_of(0);
        for (std::size_t i = 0; i < shards.size(); ++i) {
            const TensorSpec& tensor = checkpoint->layout.manifest()[shards[i].tensor];
            const auto& place = checkpoint->placement.places[i];
            const auto expected = box_bytes(tensor, Box::whole(tensor.shape), value);
            const std::string text = read_whole_file(checkpoint->files[place.region]).substr(place.offset, expected.size());
            if (text.size() != expected.size() || std::memcmp(text.data(), expected.data(), expected.size()) != 0) {
                return ::testing::AssertionFailure() << tensor.name << " is not that of " << value;
            }
        }
        return ::testing::AssertionSuccess();
    }

    const Manifest model = testing::small_model();
};

}  // namespace wsync::testing
