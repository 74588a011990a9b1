#include "sync/directory_source.hpp"

#include "store/version_reader.hpp"
#include "transport/file/file_transport.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

class DirectoryHold final : public HoldGuard {
public:
    DirectoryHold(std::shared_ptr<const StoredVersion> stored, Routes routes, SourceTimes times)
        : stored_(std::move(stored)), routes_(std::move(routes)), times_(times) {}
    const Routes& routes() const override { return routes_; }
    SourceTimes times() const override { return times_; }
    Result<std::vector<Digest>> expected(const Binding& binding, Deadline) override {
        std::vector<Digest> digests;
        digests.reserve(binding.blocks.size());
        for (const auto& block : binding.blocks) {
            if (block.default_digest == BoundBlock::kCustom) {
                return Error{Code::unsupported,
                             fmt::format("box {} is only a part of a tensor in {}: a version on disk has digests of whole tensors; receive them whole, or from the live publisher",
                                         block.source_box.to_string(), stored_->path),
                             {}};
            }
            if (block.default_digest >= stored_->digests.digests.size()) return Error{Code::corrupt, fmt::format("{} lacks digests", stored_->path), {}};
            digests.push_back(stored_->digests.digests[block.default_digest]);
        }
        return digests;
    }
    Status confirm(Deadline) override { return {}; }  // the pin kept it as it was
    bool revoked() override { return false; }

private:
    std::shared_ptr<const StoredVersion> stored_;  // with its pin
    Routes routes_;
    SourceTimes times_;
};

class DirectorySource final : public Source {
public:
    const Layout& layout() const override { return stored_->checkpoint.layout; }
    std::span<const Placement> placements() const override { return {&stored_->checkpoint.placement, 1}; }
    std::span<const std::unique_ptr<Transport>> transports() const override { return transports_; }
    Result<std::optional<Version>> newest() override { return std::optional<Version>(); }
    std::vector<int> news() const override { return {}; }

    Result<std::shared_ptr<HoldGuard>> hold(const Version& version, HoldKind kind, std::span<const std::uint32_t>, Deadline) override {
        if (kind != HoldKind::copy) return Error{Code::unsupported, "a version on disk can't be served in place: use copy", {}};
        if (version.digest != version_.digest) return Error{Code::unavailable, fmt::format("{} holds {}", stored_->path, version_.label()), {}};
        Routes routes(1);
        for (std::size_t i = 0; i < exposures_.size(); ++i) routes[0].push_back({i, 0, {exposures_[i]->descriptor()}});
        return std::shared_ptr<HoldGuard>(std::make_shared<DirectoryHold>(stored_, std::move(routes), times_));
    }

    Status open(const Version& version, const PublicationRecord& publication, const KernelSet& kernels, MemoryLedger* ledger) {
        version_ = version;
        times_ = {publication.prepare_seconds, publication.store_seconds, publication.blocked_seconds};
        FileOptions options;
        options.kernels = &kernels;
        options.ledger = ledger;
        WSYNC_TRY(auto transport, make_file_transport(options));
        transports_.push_back(std::move(transport));
        const auto files = make_file_system(nullptr);
        auto stored = open_version(*files, publication.directory);
        if (!stored) {
            if (stored.error().code != Code::not_found) return std::move(stored).error();
            return Error{Code::unavailable, fmt::format("{} has been removed: {}", publication.directory, stored.error().message), {}};
        }
        stored_ = std::make_shared<const StoredVersion>(*std::move(stored));
        if (stored_->manifest.version.digest != version.digest) {
            return Error{Code::corrupt, fmt::format("{} holds {}, not {}", publication.directory, stored_->manifest.version.label(), version.label()), {}};
        }
        for (const auto& region : stored_->checkpoint.regions) {
            WSYNC_TRY(auto exposure, transports_.front()->expose(region, {}));
            exposures_.push_back(std::move(exposure));
        }
        return {};
    }

private:
    Version version_;
    SourceTimes times_;
    std::shared_ptr<const StoredVersion> stored_;
    std::vector<std::unique_ptr<Transport>> transports_;
    std::vector<std::unique_ptr<Exposure>> exposures_;
};

}  // namespace

Result<std::unique_ptr<Source>> open_directory_source(const Version& version, const PublicationRecord& publication, const KernelSet& kernels,
                                                      MemoryLedger* ledger) {
    if (publication.directory.empty()) {
        return Error{Code::unavailable, fmt::format("{} was not written to disk: the publisher has no version directory", version.label()), {}};
    }
    auto source = std::make_unique<DirectorySource>();
    WSYNC_TRY_VOID(source->open(version, publication, kernels, ledger).within("opening " + publication.directory));
    return std::unique_ptr<Source>(std::move(source));
}

}  // namespace wsync
