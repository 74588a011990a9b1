#include "sync/directory_source.hpp"

#include "store/stored_blocks.hpp"
#include "transport/file/file_transport.hpp"
#include "verify/at_rest.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

// A version that is open, and what reads it.
struct OpenVersion {
    std::unique_ptr<Transport> bulk;
    std::unique_ptr<FileSystem> files;
    StoredVersion stored;                          // with its pin
    const KernelSet& kernels;
    MemoryLedger* ledger;
};

class DirectoryHold final : public HoldGuard {
public:
    DirectoryHold(std::shared_ptr<const OpenVersion> version, Routes routes, SourceTimes times)
        : version_(std::move(version)), routes_(std::move(routes)), times_(times) {}
    const Routes& routes() const override { return routes_; }
    SourceTimes times() const override { return times_; }
    Result<std::vector<Digest>> expected(const Binding& binding, Deadline deadline) override {
        const auto& known = version_->stored.digests.digests;
        std::vector<Digest> digests(binding.blocks.size());
        for (std::size_t i = 0; i < digests.size(); ++i) {
            const auto& block = binding.blocks[i];
            if (block.default_digest >= known.size()) return Error{Code::corrupt, fmt::format("{} lacks digests", version_->stored.path), {}};
            if (!block.part) digests[i] = known[block.default_digest];
        }
        WSYNC_TRY_VOID(digest_parts(binding, deadline, digests));
        return digests;
    }
    Status confirm(Deadline) override { return {}; }  // the pin kept it as it was
    void activated() override {}
    bool revoked() override { return false; }

private:
    struct Part {
        StoredBlock block;
        std::size_t index;                         // in the binding's blocks
    };
    Status digest_parts(const Binding& binding, Deadline deadline, std::span<Digest> digests) const;

    std::shared_ptr<const OpenVersion> version_;
    Routes routes_;
    SourceTimes times_;
};

Status DirectoryHold::digest_parts(const Binding& binding, Deadline deadline, std::span<Digest> digests) const {
    const StoredVersion& stored = version_->stored;
    std::vector<Part> parts;
    for (std::size_t i = 0; i < binding.blocks.size(); ++i) {
        const auto& block = binding.blocks[i];
        if (block.part) parts.push_back({find_block(stored, block.source_shard, block.default_digest - stored.digests.first[block.source_shard]), i});
    }
    const auto key = [](const Part& part) { return std::tie(part.block.file, part.block.offset, part.block.shard, part.block.number); };
    std::sort(parts.begin(), parts.end(), [&](const Part& a, const Part& b) { return key(a) < key(b); });
    std::vector<StoredBlock> blocks;
    for (const Part& part : parts)
        if (blocks.empty() || !(blocks.back() == part.block)) blocks.push_back(part.block);
    ReadBlocksOptions options;
    options.ledger = version_->ledger;
    std::size_t next = 0;
    return read_blocks(*version_->files, stored, blocks, options, [&](const StoredBlock& block, const Box& box, std::span<const std::byte> bytes) -> Status {
        if (deadline.expired()) return Error{Code::timed_out, "the deadline passed while blocks of which parts are wanted were proved", {}};
        const DType dtype = stored.boxes->manifest()[stored.boxes->shards()[block.shard].tensor].dtype;
        for (; next < parts.size() && parts[next].block == block; ++next) {
            digests[parts[next].index] = digest_packed_box(box, bytes, dtype, binding.blocks[parts[next].index].source_box, version_->kernels);
        }
        return {};
    });
}

class DirectorySource final : public Source {
public:
    const Layout& layout() const override { return *open_->stored.boxes; }
    std::span<const Placement> placements() const override { return {open_->stored.tensors.get(), 1}; }
    ShardForm form() const override { return ShardForm::in_tensor; }
    std::span<const std::unique_ptr<Transport>> transports() const override { return transports_; }
    Result<std::optional<Version>> newest() override { return std::optional<Version>(); }
    std::vector<int> news() const override { return {}; }

    Result<std::shared_ptr<HoldGuard>> hold(const Version& version, HoldKind kind, std::span<const std::uint32_t>, Deadline) override {
        if (kind != HoldKind::copy) return Error{Code::unsupported, "a version on disk can't be served in place: use copy", {}};
        if (version.digest != version_.digest) return Error{Code::unavailable, fmt::format("{} holds {}", open_->stored.path, version_.label()), {}};
        Routes routes(1);
        for (std::size_t i = 0; i < exposures_.size(); ++i) routes[0].push_back({i, 0, {exposures_[i]->descriptor()}});
        return std::shared_ptr<HoldGuard>(std::make_shared<DirectoryHold>(open_, std::move(routes), times_));
    }

    Status open(const Version& version, const std::string& directory, const SourceTimes& times, const KernelSet& kernels, MemoryLedger* ledger) {
        version_ = version;
        times_ = times;
        FileOptions options;
        options.kernels = &kernels;
        options.ledger = ledger;
        WSYNC_TRY(auto transport, make_file_transport(options));
        transports_.push_back(std::move(transport));
        WSYNC_TRY(auto bulk, make_file_transport(options));
        auto files = make_file_system(bulk.get());
        auto stored = open_version(*files, directory);
        if (!stored) {
            if (stored.error().code != Code::not_found) return std::move(stored).error();
            return Error{Code::unavailable, fmt::format("{} has been removed: {}", directory, stored.error().message), {}};
        }
        if (stored->manifest.version.digest != version.digest) {
            return Error{Code::corrupt, fmt::format("{} holds {}, not {}", directory, stored->manifest.version.label(), version.label()), {}};
        }
        open_ = std::make_shared<const OpenVersion>(OpenVersion{std::move(bulk), std::move(files), *std::move(stored), kernels, ledger});
        for (const auto& region : open_->stored.checkpoint.regions) {
            WSYNC_TRY(auto exposure, transports_.front()->expose(region, {}));
            exposures_.push_back(std::move(exposure));
        }
        return {};
    }

private:
    Version version_;
    SourceTimes times_;
    std::shared_ptr<const OpenVersion> open_;
    std::vector<std::unique_ptr<Transport>> transports_;
    std::vector<std::unique_ptr<Exposure>> exposures_;
};

}  // namespace

Result<std::unique_ptr<Source>> open_directory_source(const Version& version, const std::string& directory, const SourceTimes& times,
                                                      const KernelSet& kernels, MemoryLedger* ledger) {
    if (directory.empty()) {
        return Error{Code::unavailable, fmt::format("{} was not written to disk: the publisher has no version directory, or one of its ranks did not save it", version.label()), {}};
    }
    auto source = std::make_unique<DirectorySource>();
    WSYNC_TRY_VOID(source->open(version, directory, times, kernels, ledger).within("opening " + directory));
    return std::unique_ptr<Source>(std::move(source));
}

}  // namespace wsync
