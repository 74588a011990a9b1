#include "sync/publication.hpp"

#include "base/parallel.hpp"
#include "model/records.hpp"
#include "transport/wire/stale_sockets.hpp"
#include "verify/at_rest.hpp"
#include "verify/blocks.hpp"

#include <chrono>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

using std::chrono::steady_clock;

constexpr auto kHeadPatience = std::chrono::milliseconds(200);
constexpr auto kCommitTime = std::chrono::seconds(30);
constexpr std::uint64_t kRecordsKept = 4;  // old versions' records that stay, for receivers that look late

double seconds_since(steady_clock::time_point begin) { return std::chrono::duration<double>(steady_clock::now() - begin).count(); }

// In live mode the trainer's own stray writes are stopped where they happen: the slab is read-only outside begin_write.
Status protect(const Region& region, bool writable) {
    if (region.bytes == 0) return {};
    const auto bytes = (region.bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    if (::mprotect(region.address, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0) return errno_error(errno, "protecting the live slab");
    return {};
}

}  // namespace

Result<std::unique_ptr<Publication>> Publication::open(PublicationOptions options, Control& control, const TransportFactory& transports,
                                                       const KernelSet& kernels, MemoryLedger* ledger) {
    const auto& layout = options.layout;
    if (layout.coverage() != Coverage::full || layout.ranks() != options.world) {
        return Error{Code::invalid_argument,
                     fmt::format("the source layout of \"{}\" has {} ranks{}; a publisher of {} needs a full layout of all its ranks", options.name,
                                 layout.ranks(), layout.coverage() == Coverage::full ? "" : " and is partial", options.world),
                     {}};
    }
    if (options.slabs == 0 || options.slabs > 16) return Error{Code::invalid_argument, "a publisher has 1 (live) to 16 slabs", {}};
    std::unique_ptr<Publication> publication(new Publication(std::move(options), control, kernels));
    WSYNC_TRY_VOID(publication->start(transports, ledger));
    return publication;
}

Status Publication::start(const TransportFactory& transports, MemoryLedger* ledger) {
    const auto& layout = options_.layout;
    WSYNC_TRY(placement_, pack(layout, options_.rank));

    const auto shards = layout.shards_of(options_.rank);
    first_block_.push_back(0);
    for (std::uint32_t i = 0; i < shards.size(); ++i) {
        const auto dtype = layout.manifest()[shards[i].tensor].dtype;
        std::uint64_t offset = placement_.places[i].offset;
        for_each_block(shards[i].box, dtype, [&](const Box& block) {
            blocks_.push_back({i, offset, block.bytes(dtype)});
            offset += block.bytes(dtype);
        });
        first_block_.push_back(blocks_.size());
    }

    EpochClaim claim{options_.name, options_.run, options_.rank, options_.world, layout.digest(), options_.open_deadline};
    WSYNC_TRY(epoch_, open_epoch(control_, claim));
    // Before this one has sockets: however often it dies in its start, those of one life are all that is left.
    if (!options_.socket_directory.empty()) remove_stale_sockets(options_.socket_directory);

    std::vector<std::atomic<std::uint64_t>*> generations;
    for (unsigned i = 0; i < options_.slabs; ++i) {
        SlabOptions slab_options;
        slab_options.bytes = placement_.bytes();
        slab_options.name = "wsync:" + options_.name;
        slab_options.huge_pages = options_.huge_pages;
        slab_options.populate_threads = options_.threads;
        slab_options.ledger = ledger;
        slab_options.role = i == 0 ? "trainer slab" : "trainer spare slab";
        WSYNC_TRY(auto slab, SharedSlab::make(slab_options).within(fmt::format("making slab {} of \"{}\"", i, options_.name)));
        regions_.push_back(SharedSlab::region(slab));
        generations.push_back(&slab->page().generation);
        slabs_.push_back(std::move(slab));
    }
    holds_ = std::make_unique<HoldTable>(std::move(generations), [this](std::uint64_t connection, const Hold& hold) {
        if (links_) links_->push_revoked(connection, hold);
    });

    WSYNC_TRY(transports_, transports(epoch_.secret));
    RankRecord record;
    WSYNC_TRY(record.process, current_process());
    for (std::size_t i = 0; i < slabs_.size(); ++i) {
        auto& descriptors = record.slabs.emplace_back();
        for (const auto& transport : transports_) {
            if (!transport->capabilities().shared) continue;
            ExposeOptions expose;
            expose.generation = &slabs_[i]->page().generation;
            WSYNC_TRY(auto exposure, transport->expose(regions_[i], expose).within(fmt::format("exposing slab {} by {}", i, transport->capabilities().name)));
            descriptors.push_back(exposure->descriptor());
            exposures_.push_back(std::move(exposure));
        }
    }

    const auto add_blob = [&](Bytes bytes) {
        auto shared = std::make_shared<const Bytes>(std::move(bytes));
        const auto digest = digest_of(*shared);
        blobs_[digest] = std::move(shared);
        return digest;
    };
    record.layout = add_blob(encode(layout));
    record.placement = add_blob(encode(placement_));

    std::vector<Endpoint> endpoints;
    if (!options_.socket_directory.empty()) {
        if (::mkdir(options_.socket_directory.c_str(), 0700) != 0 && errno != EEXIST) return errno_error(errno, "making " + options_.socket_directory);
        WSYNC_TRY(auto nonce, random_nonce());
        endpoints.push_back({fmt::format("unix:{}/link-{}", options_.socket_directory, digest_of(nonce).hex().substr(0, 12))});
    }
    if (!options_.tcp_host.empty()) endpoints.push_back({fmt::format("tcp:{}:0", options_.tcp_host)});
    if (endpoints.empty()) return Error{Code::invalid_argument, "a publisher needs a socket directory or a tcp host for its links", {}};
    WSYNC_TRY(links_, LinkServer::start(endpoints, epoch_.secret, *this));
    record.links = links_->endpoints();

    WSYNC_TRY(lease_, control_.open_lease(options_.lease_time));
    WSYNC_TRY(auto revision, control_.put(rank_key(options_.name, epoch_.epoch, options_.rank), encode(record), lease_.get()));
    (void)revision;
    return check_epoch(control_, options_.name, epoch_.epoch);
}

Publication::~Publication() {
    // The record goes first, so that nobody new comes; then links and their holds; then the exposures.
    if (lease_) (void)control_.remove(rank_key(options_.name, epoch_.epoch, options_.rank));
    lease_.reset();
    if (links_) links_->stop();
    for (auto& exposure : exposures_) (void)exposure->close(std::chrono::milliseconds(500));
}

std::string Publication::group() const {
    const auto mac = hmac_sha256(epoch_.secret, {as_bytes_of("group")});
    std::string word;
    for (const std::byte b : std::span(mac).first(8)) word += fmt::format("{:02x}", std::to_integer<unsigned>(b));
    return word;
}

Status Publication::await_head(Deadline deadline) {
    for (auto next_try = steady_clock::now() + kHeadPatience;;) {
        WSYNC_TRY(auto head, read_head(control_, options_.name));
        if (head && head->version.epoch == epoch_.epoch && head->version.number >= number_) {
            holds_->announce(number_);
            std::lock_guard lock(mutex_);
            head_ = std::move(head);
            return {};
        }
        WSYNC_TRY_VOID(check_epoch(control_, options_.name, epoch_.epoch));
        if (steady_clock::now() >= next_try) {
            // All may have published, and the one that was to move the head may be gone.
            WSYNC_TRY([[maybe_unused]] const auto moved, try_move_head(last_, deadline));
            next_try = steady_clock::now() + kHeadPatience;
            if (moved) continue;
        }
        if (deadline.expired()) {
            WSYNC_TRY(auto entries, control_.read(version_prefix(options_.name, epoch_.epoch, number_)));
            std::string missing;
            for (std::uint32_t rank = 0; rank < options_.world; ++rank) {
                const auto key = version_key(options_.name, epoch_.epoch, number_, rank);
                if (std::any_of(entries.begin(), entries.end(), [&](const auto& e) { return e.key == key; })) continue;
                missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
            }
            return Error{Code::timed_out, fmt::format("version {} of \"{}\" is not whole: rank {} did not publish it", number_, options_.name, missing), {}};
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

Result<std::uint32_t> Publication::begin_write(Deadline deadline, bool revoke) {
    const auto begin = steady_clock::now();
    if (number_ > 0 && options_.world > 1) WSYNC_TRY_VOID(await_head(deadline));
    WSYNC_TRY(auto slab, holds_->begin_write(deadline, revoke));
    if (options_.slabs == 1) WSYNC_TRY_VOID(protect(regions_[slab], true));
    copied_.assign(first_block_.size() - 1, 0);
    writing_.first = first_block_;
    writing_.digests.assign(blocks_.size(), Digest{});
    blocked_seconds_ = seconds_since(begin);
    prepare_nanoseconds_ = 0;
    return slab;
}

std::span<std::byte> Publication::shard_bytes(std::uint32_t slab, std::size_t shard) const {
    const auto shards = options_.layout.shards_of(options_.rank);
    const auto dtype = options_.layout.manifest()[shards[shard].tensor].dtype;
    return {regions_[slab].address + placement_.places[shard].offset, shards[shard].box.bytes(dtype)};
}

Status Publication::copy_shard(std::uint32_t slab, std::size_t shard, std::span<const std::byte> packed, std::optional<DType> from) {
    const auto target = shard_bytes(slab, shard);
    const auto& s = options_.layout.shards_of(options_.rank)[shard];
    const auto& spec = options_.layout.manifest()[s.tensor];
    const bool cast = from && *from != spec.dtype;
    if (cast && (*from != DType::f32 || spec.dtype != DType::bf16)) {
        return Error{Code::unsupported,
                     fmt::format("{} is given as {} and published as {}: only F32 is cast to BF16 on the way, cast it before", spec.name, name_of(*from),
                                 name_of(spec.dtype)),
                     {}};
    }
    const std::uint64_t wider = cast ? 2 : 1;
    if (packed.size() != target.size() * wider) {
        return Error{Code::invalid_argument,
                     fmt::format("{} bytes were given for {} {}, which has {}", packed.size(), spec.name, s.box.to_string(), target.size() * wider), {}};
    }
    const auto base = placement_.places[shard].offset;
    for (auto i = first_block_[shard]; i < first_block_[shard + 1]; ++i) {
        const auto& block = blocks_[i];
        auto* to = regions_[slab].address + block.offset;
        const auto* source = packed.data() + (block.offset - base) * wider;
        writing_.digests[i] = cast ? kernels_.bf16_digest(to, source, block.bytes / 2) : kernels_.copy_digest(to, source, block.bytes);
    }
    copied_[shard] = 1;
    return {};
}

void Publication::add_prepare(double seconds) { prepare_nanoseconds_ += static_cast<std::uint64_t>(seconds * 1e9); }

Status Publication::digest_rest(std::uint32_t slab) {
    std::vector<std::size_t> rest;
    for (std::size_t i = 0; i < blocks_.size(); ++i)
        if (!copied_[blocks_[i].shard]) rest.push_back(i);
    parallel_for(rest.size(), options_.threads, [&](std::size_t k) {
        const auto& block = blocks_[rest[k]];
        writing_.digests[rest[k]] = kernels_.digest(regions_[slab].address + block.offset, block.bytes);
    });
    return {};
}

Result<std::optional<Version>> Publication::try_move_head(const PublicationRecord& own, Deadline deadline) {
    WSYNC_TRY(auto entries, control_.read(version_prefix(options_.name, epoch_.epoch, own.number)));
    if (entries.size() < options_.world) return std::optional<Version>();
    std::vector<Digest> lists;
    bool saved = true;  // by all ranks
    for (std::uint32_t rank = 0; rank < options_.world; ++rank) {
        const auto key = version_key(options_.name, epoch_.epoch, own.number, rank);
        const auto entry = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == key; });
        if (entry == entries.end()) return std::optional<Version>();
        WSYNC_TRY(auto record, decode_publication(entry->value).within("reading " + key));
        if (record.step != own.step) {
            return Error{Code::invalid_argument, fmt::format("rank {} publishes version {} as step {}, rank {} as step {}", rank, own.number, record.step, options_.rank, own.step), {}};
        }
        saved = saved && !record.directory.empty();
        lists.push_back(record.digests);
    }
    Version version{options_.name, epoch_.run, epoch_.epoch, own.number, own.step, own.number - 1, digest_of_version(epoch_.layout, lists)};
    for (bool committed = !commit_ || !saved;; committed = true) {
        WSYNC_TRY(auto entry, read_one(control_, head_key(options_.name)));
        if (entry) {
            WSYNC_TRY(auto head, decode_head(entry->value).within("reading " + entry->key));
            if (head.version.epoch > epoch_.epoch) return check_epoch(control_, options_.name, epoch_.epoch).error();
            if (head.version.epoch == epoch_.epoch && head.version.number >= own.number) return std::optional<Version>(head.version);
        }
        if (!committed) {
            WSYNC_TRY_VOID(commit_(version, lists, deadline));
            continue;
        }
        auto put = control_.compare_and_put(head_key(options_.name), entry ? entry->revision : 0, encode(HeadRecord{version}), nullptr);
        if (put) return std::optional<Version>(version);
        if (put.error().code != Code::unavailable) return std::move(put).error();
    }
}

Result<Version> Publication::publish(std::uint32_t slab, std::uint64_t step, const VersionSink& sink) {
    const auto begin = steady_clock::now();
    WSYNC_TRY_VOID(check_epoch(control_, options_.name, epoch_.epoch));
    WSYNC_TRY_VOID(digest_rest(slab));
    if (options_.slabs == 1) WSYNC_TRY_VOID(protect(regions_[slab], false));
    Bytes digest_bytes = encode(writing_);
    auto digests = std::make_shared<const Bytes>(std::move(digest_bytes));

    PublicationRecord record;
    record.number = number_ + 1;
    record.step = step;
    record.slab = slab;
    record.generation = holds_->generation_of(slab) + 1;
    record.digests = digest_of(*digests);
    record.prepare_seconds = seconds_since(begin) + static_cast<double>(prepare_nanoseconds_.exchange(0)) / 1e9;
    if (sink.write) {
        const auto stored = steady_clock::now();
        Version version{options_.name, epoch_.run, epoch_.epoch, record.number, step, number_, {}};
        if (options_.world == 1) version.digest = digest_of_version(epoch_.layout, std::span(&record.digests, 1));
        WSYNC_TRY(record.directory, sink.write(version, placement_, regions_[slab], writing_));
        record.store_seconds = seconds_since(stored);
    }
    record.blocked_seconds = blocked_seconds_ + record.prepare_seconds + record.store_seconds;
    {
        std::lock_guard lock(mutex_);
        blobs_[record.digests] = digests;
        published_[record.number] = record;
        for (auto it = published_.begin(); it != published_.end() && it->first + kRecordsKept < record.number;) {
            const auto old = it->second.digests;
            cut_cache_.erase(it->first);
            it = published_.erase(it);
            if (std::none_of(published_.begin(), published_.end(), [&](const auto& p) { return p.second.digests == old; })) blobs_.erase(old);
        }
    }
    auto put = control_.put(version_key(options_.name, epoch_.epoch, record.number, options_.rank), encode(record), nullptr);
    if (!put) return std::move(put).error().within(fmt::format("publishing version {} of \"{}\"", record.number, options_.name));
    holds_->finish_write(slab, record.number);
    number_ = record.number;
    last_ = record;
    commit_ = sink.commit;
    WSYNC_TRY(auto moved, try_move_head(record, kCommitTime));
    if (record.number > kRecordsKept) {
        (void)control_.remove(version_key(options_.name, epoch_.epoch, record.number - kRecordsKept, options_.rank));
    }
    if (!moved) return Version{options_.name, epoch_.run, epoch_.epoch, record.number, step, record.number - 1, {}};
    holds_->announce(record.number);
    {
        std::lock_guard lock(mutex_);
        head_ = HeadRecord{*moved};
    }
    links_->push_head(HeadRecord{*moved});
    if (record.number == 1) remove_older_epochs(control_, options_.name, epoch_.epoch);
    return *moved;
}

void Publication::abandon(std::uint32_t slab) {
    if (options_.slabs == 1) (void)protect(regions_[slab], false);
    holds_->abandon_write(slab);
}

Result<std::shared_ptr<const Bytes>> Publication::blob(const Digest& digest) {
    std::lock_guard lock(mutex_);
    const auto it = blobs_.find(digest);
    if (it == blobs_.end()) return Error{Code::not_found, fmt::format("no blob {} here: the version it belongs to was recycled", digest.short_hex()), {}};
    return it->second;
}

Result<GrantedHold> Publication::grant(std::uint64_t connection, std::uint64_t number, HoldKind kind, const std::string& holder) {
    PublicationRecord record;
    {
        std::lock_guard lock(mutex_);
        const auto it = published_.find(number);
        if (it == published_.end()) return Error{Code::unavailable, fmt::format("version {} was not published here, or long ago", number), {}};
        record = it->second;
    }
    WSYNC_TRY(auto hold, holds_->grant(number, kind, connection, holder));
    return GrantedHold{hold, record};
}

std::optional<GrantedHold> Publication::offer(std::uint64_t connection, std::uint64_t number) {
    PublicationRecord record;
    {
        std::lock_guard lock(mutex_);
        const auto it = published_.find(number);
        if (it == published_.end()) return {};
        record = it->second;
    }
    auto hold = holds_->offer(number, connection);
    if (!hold) return {};
    return GrantedHold{*hold, std::move(record)};
}

Result<std::vector<Digest>> Publication::digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes) {
    WSYNC_TRY(const Hold hold, holds_->find(hold_id));
    ByteWriter key;
    for (const auto& box : boxes) {
        key.u32(box.shard);
        for (auto extent : box.box.offset) key.u64(extent);
        for (auto extent : box.box.size) key.u64(extent);
    }
    const auto request = digest_of(key.view());
    {
        std::lock_guard lock(mutex_);
        if (auto version = cut_cache_.find(hold.number); version != cut_cache_.end()) {
            if (auto it = version->second.find(request); it != version->second.end()) return it->second;
        }
    }
    const auto& layout = options_.layout;
    const auto shards = layout.shards_of(options_.rank);
    std::vector<Digest> digests;
    for (const auto& box : boxes) {
        if (box.shard >= shards.size() || box.box.offset.size() != shards[box.shard].box.offset.size() || !shards[box.shard].box.contains(box.box)) {
            return Error{Code::invalid_argument, fmt::format("digest of a box {} that shard {} of rank {} does not hold", box.box.to_string(), box.shard, options_.rank), {}};
        }
        WSYNC_TRY(auto digest, digest_box_at_rest(layout, layout.first_shard_of(options_.rank) + box.shard, box.box, placement_,
                                                  std::span(&regions_[hold.slab], 1), kernels_));
        digests.push_back(digest);
    }
    WSYNC_TRY_VOID(holds_->check(hold_id));
    std::lock_guard lock(mutex_);
    cut_cache_[hold.number][request] = digests;
    return digests;
}

std::optional<HeadRecord> Publication::head() {
    std::lock_guard lock(mutex_);
    return head_;
}

}  // namespace wsync
