#include "wsync/session/publisher.hpp"

#include "base/parallel.hpp"
#include "session/session_state.hpp"
#include "session/version_directory.hpp"
#include "sync/stopwatch.hpp"

#include <fmt/format.h>
#include <map>

namespace wsync {

struct Publisher::Impl {
    std::shared_ptr<Session::Impl> session;  // outlives the publication
    std::shared_ptr<Publication> publication;
    std::unique_ptr<VersionDirectory> versions;  // null: none are written

    [[nodiscard]] VersionSink sink(const PublishOptions& options) const {
        if (!versions || !options.save) return {};
        VersionSink sink;
        sink.write = [this, &options](const Version& version, const Placement& placement, const Region& slab, const BlockDigests& digests) {
            const auto& own = publication->options();
            return versions->write(version, {&own.layout, &placement, std::span(&slab, 1), &digests, own.rank}, options.new_files);
        };
        if (publication->options().world > 1) {
            sink.commit = [this](const Version& version, std::span<const Digest> lists, Deadline deadline) { return versions->commit(version, lists, deadline); };
        }
        return sink;
    }
};

Write::Write(std::shared_ptr<Publication> publication, std::uint32_t slab) : publication_(std::move(publication)), slab_(slab) {}
Write::Write(Write&& other) noexcept = default;
Write& Write::operator=(Write&& other) noexcept {
    if (this != &other) {
        if (publication_) publication_->abandon(slab_);
        publication_ = std::move(other.publication_);
        slab_ = other.slab_;
    }
    return *this;
}
Write::~Write() {
    if (publication_) publication_->abandon(slab_);
}

std::size_t Write::size() const noexcept {
    const auto& options = publication_->options();
    return options.layout.shards_of(options.rank).size();
}

WritableShard Write::shard(std::size_t i) const {
    const auto& options = publication_->options();
    const auto& shard = options.layout.shards_of(options.rank)[i];
    const auto& spec = options.layout.manifest()[shard.tensor];
    return {spec.name, spec.dtype, shard.box, publication_->shard_bytes(slab_, i)};
}

Status Write::copy(std::size_t i, std::span<const std::byte> bytes, std::optional<DType> from) {
    if (i >= size()) return Error{Code::invalid_argument, fmt::format("shard {} of {}", i, size()), {}};
    Stopwatch watch;
    auto copied = publication_->copy_shard(slab_, i, bytes, from);
    publication_->add_prepare(watch.lap());
    return copied;
}

Status Write::copy_from(std::span<const Parameter> parameters) {
    std::multimap<std::string_view, std::size_t> given;
    for (std::size_t i = 0; i < parameters.size(); ++i) given.emplace(parameters[i].name, i);
    std::vector<std::size_t> source(size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        const auto it = given.lower_bound(shard(i).name);
        if (it == given.end() || it->first != shard(i).name) {
            return Error{Code::invalid_argument, fmt::format("no parameter was given for {} {}", shard(i).name, shard(i).box.to_string()), {}};
        }
        source[i] = it->second;
        given.erase(it);
    }
    for (const auto& [name, i] : given) {
        // An empty tensor has no shard and needs none.
        if (parameters[i].bytes.empty() && publication_->options().layout.manifest().find(name)) continue;
        return Error{Code::invalid_argument, fmt::format("the parameter {} is not in this rank's layout", name), {}};
    }
    std::mutex mutex;
    std::optional<Error> error;
    Stopwatch watch;
    parallel_for(source.size(), publication_->options().threads, [&](std::size_t i) {
        auto copied = publication_->copy_shard(slab_, i, parameters[source[i]].bytes, parameters[source[i]].dtype);
        if (copied) return;
        std::lock_guard lock(mutex);
        if (!error) error = std::move(copied).error();
    });
    publication_->add_prepare(watch.lap());
    if (error) return *std::move(error);
    return {};
}

Publisher::Publisher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Publisher::Publisher(Publisher&&) noexcept = default;
Publisher& Publisher::operator=(Publisher&&) noexcept = default;
Publisher::~Publisher() = default;

Result<Write> Publisher::begin_write(const BeginWriteOptions& options) {
    WSYNC_TRY(auto slab, impl_->publication->begin_write(options.deadline, options.revoke));
    return Write(impl_->publication, slab);
}

Result<Version> Publisher::publish(Write&& write, const PublishOptions& options) {
    if (write.publication_ != impl_->publication) return Error{Code::invalid_argument, "this write belongs to another publisher, or was published already", {}};
    WSYNC_TRY(auto version, impl_->publication->publish(write.slab_, options.step, impl_->sink(options)));
    write.publication_.reset();  // published: nothing to abandon
    if (impl_->versions && options.save) impl_->versions->retire(version.name);
    return version;
}

std::uint64_t Publisher::epoch() const noexcept { return impl_->publication->epoch(); }
std::size_t Publisher::holds() const { return impl_->publication->holds(); }

Result<Publisher> Session::publisher(const PublisherOptions& options) {
    PublicationOptions publication;
    publication.name = options.name;
    publication.run = options.run;
    publication.rank = options.rank;
    publication.world = options.world;
    publication.layout = options.source;
    publication.slabs = options.slabs;
    publication.huge_pages = options.huge_pages;
    publication.threads = options.threads;
    publication.socket_directory = impl_->options.socket_directory;
    publication.tcp_host = impl_->options.tcp_host;
    publication.lease_time = options.lease_time;
    publication.open_deadline = options.open_deadline;
    auto made = std::make_unique<Publisher::Impl>();
    made->session = impl_;
    WSYNC_TRY(auto opened, Publication::open(std::move(publication), *impl_->control, impl_->transports(), *impl_->kernels, &impl_->ledger)
                               .within(fmt::format("opening \"{}\" for publication", options.name)));
    made->publication = std::move(opened);
    if (!options.version_directory.empty()) {
        WriteVersionOptions versions;
        versions.root = options.version_directory;
        versions.keep = options.keep_versions;
        versions.recycle = options.recycle_versions;
        WSYNC_TRY(made->versions, VersionDirectory::make(std::move(versions), options.world > 1 ? made->publication->group() : "", *impl_->kernels, &impl_->ledger));
    }
    return Publisher(std::move(made));
}

}  // namespace wsync
