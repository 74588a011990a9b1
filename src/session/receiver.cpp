#include "sync/receiver.hpp"
#include "session/session_state.hpp"

#include <fmt/format.h>

namespace wsync {

struct Receiver::Impl {
    std::shared_ptr<Session::Impl> session;  // outlives the receiver
    std::unique_ptr<ReceiverCore> core;
};

namespace {

// A version may outlive its receiver and the session: the ledger that its slab is booked in then goes last.
template <class T>
std::shared_ptr<T> keep_with(std::shared_ptr<Session::Impl> session, std::shared_ptr<T> version) {
    if (!version) return nullptr;
    struct Kept {
        std::shared_ptr<Session::Impl> session;
        std::shared_ptr<T> version;
    };
    auto kept = std::make_shared<Kept>(Kept{std::move(session), std::move(version)});
    return std::shared_ptr<T>(kept, kept->version.get());
}

}  // namespace

std::size_t TensorRange::size() const { return version_ == nullptr ? 0 : version_->size(); }

Tensor TensorRange::operator[](std::size_t i) const {
    const auto view = version_->tensor(i);
    return {view.name, view.dtype, view.tensor_shape, view.box, view.bytes};
}

Result<Tensor> TensorRange::find(std::string_view name) const {
    if (version_ != nullptr) {
        const auto tensor = version_->layout->manifest().find(name);
        const auto shards = version_->layout->shards_of(version_->rank);
        const auto it = std::find_if(shards.begin(), shards.end(), [&](const Shard& shard) { return tensor && shard.tensor == *tensor; });
        if (it != shards.end() && size() > 0) return (*this)[static_cast<std::size_t>(it - shards.begin())];
    }
    return Error{Code::not_found, fmt::format("this receiver holds no tensor {}", name), {}};
}

const Version& StagedVersion::version() const { return version_->version; }
TensorRange StagedVersion::tensors() const { return TensorRange(version_.get()); }
const SyncReport& StagedVersion::report() const { return version_->report; }
VersionPin StagedVersion::pin() const { return VersionPin(version_); }
const Version& VersionPin::version() const { return version_->version; }
TensorRange VersionPin::tensors() const { return TensorRange(version_.get()); }

Receiver::Receiver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Receiver::Receiver(Receiver&&) noexcept = default;
Receiver& Receiver::operator=(Receiver&&) noexcept = default;
Receiver::~Receiver() = default;

Result<StagedVersion> Receiver::stage(const StageOptions& options) {
    WSYNC_TRY(auto staged, impl_->core->stage(options.deadline, options.after));
    return StagedVersion(keep_with(impl_->session, std::move(staged)));
}

Result<SyncReport> Receiver::activate(StagedVersion&& staged) {
    if (!staged.version_) return Error{Code::invalid_argument, "this staged version was activated already", {}};
    return impl_->core->activate(std::move(staged.version_));
}

Result<SyncReport> Receiver::sync(const StageOptions& options) {
    WSYNC_TRY(auto staged, stage(options));
    return activate(std::move(staged));
}

Result<Version> Receiver::rollback() { return impl_->core->rollback(); }
Result<std::optional<Version>> Receiver::newest() { return impl_->core->newest(); }
Status Receiver::health() { return impl_->core->health(); }
VersionPin Receiver::pin() const { return VersionPin(keep_with(impl_->session, impl_->core->pin())); }
std::pair<std::uint64_t, std::uint64_t> Receiver::active_number() const noexcept { return impl_->core->active_number(); }
void Receiver::interrupt() noexcept { impl_->core->interrupt(); }

Status activate_all(std::span<Receiver* const> receivers, std::vector<StagedVersion>&& staged) {
    if (receivers.size() != staged.size()) {
        return Error{Code::invalid_argument, fmt::format("{} receivers but {} staged versions: none is activated", receivers.size(), staged.size()), {}};
    }
    for (std::size_t i = 0; i < receivers.size(); ++i) WSYNC_TRY_VOID(receivers[i]->health());
    for (std::size_t i = 0; i < receivers.size(); ++i) {
        auto activated = receivers[i]->activate(std::move(staged[i]));
        if (!activated) return std::move(activated).error();
    }
    return {};
}

Result<Receiver> Session::receiver(const ReceiverOptions& options) {
    ReceiverCoreOptions core;
    core.name = options.name;
    core.id = options.id;
    if (const auto& group = options.group) {
        core.group = GroupMemberOptions{.name = {}, .group = group->name, .rank = group->rank, .size = group->size, .id = {}, .lease_time = group->lease_time};
    }
    core.wanted = options.sink.wanted;
    core.rank = options.sink.rank;
    core.use = options.use;
    core.slabs = options.slabs;
    core.rollback = options.rollback;
    core.slots = options.sink.slots;
    core.make_slot = options.sink.make_slot;
    if (!options.transports.empty()) {
        core.transports = options.transports;
    } else {
        core.transports.clear();
        if (impl_->options.shm) core.transports.push_back("shm");
        if (!impl_->options.tcp_host.empty()) core.transports.push_back("tcp");
    }
    core.verification = options.verification;
    core.reuse_blocks = options.reuse_blocks;
    core.huge_pages = options.huge_pages;
    core.socket_directory = impl_->options.socket_directory;
    core.executor = {options.budget.threads, options.budget.bucket_bytes, options.budget.in_flight_bytes, options.budget.bytes_per_second};
    core.progress = options.progress;
    auto made = std::make_unique<Receiver::Impl>();
    made->session = impl_;
    WSYNC_TRY(made->core, ReceiverCore::open(std::move(core), *impl_->control, impl_->transports(), *impl_->kernels, &impl_->ledger)
                              .within(fmt::format("opening a receiver of \"{}\"", options.name)));
    return Receiver(std::move(made));
}

}  // namespace wsync
