#include "sync/publisher_source.hpp"

#include "model/records.hpp"
#include "verify/block_digests.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

struct Rank {
    RankRecord record;
    std::shared_ptr<Link> link;
};

class PublisherHold final : public HoldGuard {
public:
    struct Part {
        std::uint32_t rank = 0;
        std::shared_ptr<Link> link;
        GrantedHold granted;
    };

    PublisherHold(std::vector<Part> parts, Routes routes) : parts_(std::move(parts)), routes_(std::move(routes)) {}
    ~PublisherHold() override {
        for (auto& part : parts_)
            part.link->release(part.granted.hold.id);
    }

    const Routes& routes() const override { return routes_; }
    SourceTimes times() const override {
        SourceTimes times;
        for (const auto& part : parts_) {
            times.prepare_seconds = std::max(times.prepare_seconds, part.granted.publication.prepare_seconds);
            times.store_seconds = std::max(times.store_seconds, part.granted.publication.store_seconds);
            times.blocked_seconds = std::max(times.blocked_seconds, part.granted.publication.blocked_seconds);
        }
        return times;
    }

    Result<std::vector<Digest>> expected(const Binding& binding, Deadline deadline) override {
        std::vector<Digest> digests(binding.blocks.size());
        for (auto& part : parts_) {
            auto bytes = part.link->blob(part.granted.publication.digests, deadline).within(fmt::format("fetching digests of rank {}", part.rank));
            if (!bytes && bytes.error().code == Code::not_found) {
                // They are kept as long as the hold is: it was taken away, or came too late. There is a newer version.
                WSYNC_TRY_VOID(part.link->check(part.granted.hold.id, false, deadline));
                bytes.error().code = Code::unavailable;
            }
            if (!bytes) return std::move(bytes).error();
            WSYNC_TRY(auto own, decode_block_digests(*bytes));
            std::vector<BoxRequest> requests;
            std::vector<std::size_t> asked;
            for (std::size_t i = 0; i < binding.blocks.size(); ++i) {
                const auto& block = binding.blocks[i];
                if (block.source_rank != part.rank) continue;
                if (block.default_digest == BoundBlock::kCustom) {
                    requests.push_back({block.source_shard, block.source_box});
                    asked.push_back(i);
                } else if (block.default_digest < own.digests.size()) {
                    digests[i] = own.digests[block.default_digest];
                } else {
                    return Error{Code::corrupt, fmt::format("rank {} published {} digests, block {} is missing", part.rank, own.digests.size(), block.default_digest), {}};
                }
            }
            if (requests.empty()) continue;
            WSYNC_TRY(auto answers, part.link->digests(part.granted.hold.id, requests, deadline).within(fmt::format("asking rank {} for digests", part.rank)));
            for (std::size_t k = 0; k < asked.size(); ++k) digests[asked[k]] = answers[k];
        }
        return digests;
    }

    Status confirm(Deadline deadline) override {
        for (auto& part : parts_) WSYNC_TRY_VOID(part.link->check(part.granted.hold.id, false, deadline));
        return {};
    }

    void activated() override {
        for (auto& part : parts_) part.link->claim(part.granted.hold.id);
    }

    bool revoked() override {
        bool taken = false;
        for (auto& part : parts_) {
            (void)part.link->poll();
            taken = taken || part.link->revoked(part.granted.hold.id);
        }
        return taken;
    }

private:
    std::vector<Part> parts_;
    Routes routes_;
};

class PublisherSource final : public Source {
public:
    const Layout& layout() const override { return layout_; }
    std::span<const Placement> placements() const override { return placements_; }
    ShardForm form() const override { return ShardForm::packed; }
    std::span<const std::unique_ptr<Transport>> transports() const override { return transports_; }

    Result<std::shared_ptr<HoldGuard>> hold(const Version& version, HoldKind kind, std::span<const std::uint32_t> ranks, Deadline deadline) override {
        std::vector<PublisherHold::Part> parts;
        Routes routes(ranks_.size());
        const auto release_all = [&] {
            for (auto& part : parts) part.link->release(part.granted.hold.id);
        };
        for (auto rank : ranks) {
            auto granted = ranks_[rank].link->hold(version.number, kind, deadline).within(fmt::format("asking rank {} for a hold on {}", rank, version.label()));
            if (!granted) {
                release_all();
                return std::move(granted).error();
            }
            const auto& slabs = ranks_[rank].record.slabs;
            if (granted->hold.slab >= slabs.size()) {
                release_all();
                return Error{Code::corrupt, fmt::format("rank {} granted slab {} of {}", rank, granted->hold.slab, slabs.size()), {}};
            }
            Route route;
            route.key = (std::uint64_t{rank} << 32) | granted->hold.slab;
            route.generation = granted->hold.generation;
            for (const auto& wanted : preference_)
                for (const auto& descriptor : slabs[granted->hold.slab])
                    if (descriptor.transport == wanted) route.descriptors.push_back(descriptor);
            routes[rank].push_back(std::move(route));
            parts.push_back({rank, ranks_[rank].link, *std::move(granted)});
        }
        return std::shared_ptr<HoldGuard>(std::make_shared<PublisherHold>(std::move(parts), std::move(routes)));
    }

    Result<std::optional<Version>> newest() override {
        std::optional<Version> newest;
        for (auto& rank : ranks_) {
            WSYNC_TRY_VOID(rank.link->poll());
            const auto& head = rank.link->head();
            if (head && (!newest || head->version.newer_than(*newest))) newest = head->version;
        }
        return newest;
    }

    std::vector<int> news() const override {
        std::vector<int> fds;
        for (const auto& rank : ranks_) {
            fds.push_back(rank.link->fd());
            fds.push_back(rank.link->pidfd());
        }
        return fds;
    }

    Status connect(const PublisherSourceOptions& options, Control& control, const EpochRecord& epoch, const TransportFactory& transports, Deadline deadline) {
        preference_ = options.transports;
        WSYNC_TRY(transports_, transports(epoch.secret));
        for (std::uint32_t r = 0; r < epoch.world; ++r) {
            Rank rank;
            WSYNC_TRY(rank.record, read_rank(control, options.name, epoch.epoch, r));
            if (rank.record.layout != ranks_digest(rank.record)) {
                return Error{Code::corrupt, fmt::format("rank {} of \"{}\" describes another layout than rank 0", r, options.name), {}};
            }
            WSYNC_TRY(auto link, Link::connect(rank.record.links, rank.record.process, epoch.secret, options.receiver, deadline)
                                     .within(fmt::format("linking to rank {} of \"{}\"", r, options.name)));
            rank.link = std::move(link);
            ranks_.push_back(std::move(rank));
        }
        WSYNC_TRY(auto layout_bytes, ranks_[0].link->blob(ranks_[0].record.layout, deadline));
        WSYNC_TRY(layout_, decode_layout(layout_bytes));
        if (layout_.digest() != epoch.layout || layout_.ranks() != epoch.world) {
            return Error{Code::corrupt, fmt::format("the layout of \"{}\" is not the one its epoch record names", options.name), {}};
        }
        for (std::uint32_t r = 0; r < epoch.world; ++r) {
            WSYNC_TRY(auto bytes, ranks_[r].link->blob(ranks_[r].record.placement, deadline));
            WSYNC_TRY(auto placement, decode_placement(bytes));
            WSYNC_TRY_VOID(check(layout_, r, placement).within(fmt::format("checking the placement of rank {}", r)));
            placements_.push_back(std::move(placement));
        }
        return {};
    }

private:
    [[nodiscard]] const Digest& ranks_digest(const RankRecord& record) const { return ranks_.empty() ? record.layout : ranks_[0].record.layout; }

    std::vector<std::string> preference_;
    std::vector<Rank> ranks_;
    Layout layout_;
    std::vector<Placement> placements_;
    std::vector<std::unique_ptr<Transport>> transports_;
};

}  // namespace

Result<std::unique_ptr<Source>> connect_publisher(const PublisherSourceOptions& options, Control& control, const EpochRecord& epoch,
                                                  const TransportFactory& transports, Deadline deadline) {
    auto source = std::make_unique<PublisherSource>();
    WSYNC_TRY_VOID(source->connect(options, control, epoch, transports, deadline));
    return std::unique_ptr<Source>(std::move(source));
}

}  // namespace wsync
