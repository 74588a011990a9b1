#include "sync/receiver.hpp"

#include "sync/directory_source.hpp"
#include "sync/epoch.hpp"
#include "sync/stopwatch.hpp"
#include "transport/wire/stale_sockets.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace wsync {
namespace {

// How often a receiver that waits on its links also looks at the control plane, where a newer epoch would show.
constexpr auto kLookInterval = std::chrono::milliseconds(250);

}  // namespace

TensorView ServedVersion::tensor(std::size_t i) const {
    const auto& shard = layout->shards_of(rank)[i];
    const auto& spec = layout->manifest()[shard.tensor];
    const auto& place = (*places)[i];
    return {spec.name, spec.dtype, spec.shape, shard.box, {bases[place.base] + place.offset, place.bytes}};
}

ReceiverCore::ReceiverCore(ReceiverCoreOptions options, Control& control, TransportFactory transports, const KernelSet& kernels, MemoryLedger* ledger)
    : options_(std::move(options)), control_(control), transports_(std::move(transports)), kernels_(kernels), ledger_(ledger) {}

Result<std::unique_ptr<ReceiverCore>> ReceiverCore::open(ReceiverCoreOptions options, Control& control, TransportFactory transports, const KernelSet& kernels,
                                                         MemoryLedger* ledger) {
    WSYNC_TRY_VOID(check_publication_name(options.name));
    if (options.wanted && options.rank >= options.wanted->ranks()) {
        return Error{Code::invalid_argument, fmt::format("the wanted layout has {} ranks, rank {} is none of them", options.wanted->ranks(), options.rank), {}};
    }
    if (options.slabs == 0 || options.slabs > 8) return Error{Code::invalid_argument, "a receiver has 1 (in place) to 8 slabs", {}};
    if (options.transports.empty()) return Error{Code::invalid_argument, "a receiver needs at least one transport (shm, tcp)", {}};
    std::unique_ptr<ReceiverCore> receiver(new ReceiverCore(std::move(options), control, std::move(transports), kernels, ledger));
    receiver->wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!receiver->wake_) return errno_error(errno, "making an eventfd");
    WSYNC_TRY(receiver->watch_, control.watch(receiver->options_.name));
    if (auto group = receiver->options_.group) {
        if (receiver->options_.use == Use::copy && receiver->options_.slabs < 2) {
            return Error{Code::invalid_argument, "a receiver in a group needs 2 slabs: the old version serves until all members have the new one", {}};
        }
        group->name = receiver->options_.name;
        group->id = receiver->options_.id;
        WSYNC_TRY(receiver->group_, GroupMember::make(*std::move(group), control));
    }
    return receiver;
}

ReceiverCore::~ReceiverCore() {
    // Holds go before the links that carry their release.
    previous_.reset();
    {
        std::lock_guard lock(mutex_);
        active_.reset();
    }
    disconnect();
}

void ReceiverCore::disconnect() {
    executor_.reset();
    source_.reset();
}

void ReceiverCore::tidy_after(const Error& error) const {
    if (error.code == Code::peer_lost && !options_.socket_directory.empty()) remove_stale_sockets(options_.socket_directory);
}

std::shared_ptr<const ServedVersion> ReceiverCore::pin() const {
    std::lock_guard lock(mutex_);
    return active_;
}

std::pair<std::uint64_t, std::uint64_t> ReceiverCore::active_number() const noexcept { return {active_epoch_.load(), active_number_.load()}; }

void ReceiverCore::interrupt() noexcept {
    static_assert(std::atomic<bool>::is_always_lock_free);
    interrupted_ = true;
    const std::uint64_t one = 1;
    // Only async-signal-safe calls here: a full counter already wakes.
    if (::write(wake_.get(), &one, sizeof one) < 0) return;
}

bool ReceiverCore::is_news(const Version& version) const {
    std::lock_guard lock(mutex_);
    return version != after_ && (!active_ || version.newer_than(active_->version));
}

Result<std::optional<Version>> ReceiverCore::look(Deadline deadline) {
    if (source_) {
        auto newest = source_->newest();
        if (newest && *newest && is_news(**newest)) return *newest;
        if (!newest) {
            disconnect();
            tidy_after(newest.error());
            if (newest.error().code != Code::peer_lost) return std::move(newest).error();
        }
    }
    WSYNC_TRY(auto head, read_head(control_, options_.name));
    if (!head || !is_news(head->version)) return std::optional<Version>();
    if (source_ && !from_disk_ && head->version.epoch == source_epoch_) return std::optional<Version>(head->version);
    WSYNC_TRY_VOID(connect(head->version, deadline));
    return std::optional<Version>(head->version);
}

Status ReceiverCore::connect(const Version& version, Deadline deadline) {
    disconnect();
    from_disk_ = options_.transports.front() == "disk";
    if (from_disk_) {
        WSYNC_TRY(const auto entries, control_.read(version_prefix(options_.name, version.epoch, version.number)));
        std::optional<PublicationRecord> publication;
        SourceTimes times;
        bool saved = true;  // by all ranks
        for (const auto& entry : entries) {
            WSYNC_TRY(auto record, decode_publication(entry.value).within("reading " + entry.key));
            times.prepare_seconds = std::max(times.prepare_seconds, record.prepare_seconds);
            times.store_seconds = std::max(times.store_seconds, record.store_seconds);
            times.blocked_seconds = std::max(times.blocked_seconds, record.blocked_seconds);
            saved = saved && !record.directory.empty();
            if (!publication) publication = std::move(record);
        }
        if (!publication) return Error{Code::unavailable, fmt::format("{} has no record any more", version.label()), {}};
        WSYNC_TRY(source_, open_directory_source(version, saved ? publication->directory : "", times, kernels_, ledger_));
        executor_ = make_executor();
        return make_plan_for_source();
    }
    WSYNC_TRY(auto epoch, read_epoch(control_, options_.name));
    if (epoch.epoch != version.epoch) {
        return Error{Code::unavailable, fmt::format("{} belongs to an older epoch; its successor, epoch {}, has not published yet", version.label(), epoch.epoch), {}};
    }
    PublisherSourceOptions source;
    source.name = options_.name;
    source.receiver = options_.id;
    source.transports = options_.transports;
    WSYNC_TRY(source_, connect_publisher(source, control_, epoch, transports_, deadline));
    source_epoch_ = epoch.epoch;
    executor_ = make_executor();
    return make_plan_for_source();
}

// A disk likes longer runs and a deeper queue than shared memory and sockets. What the user asked for is kept.
std::unique_ptr<Executor> ReceiverCore::make_executor() const {
    auto options = options_.executor;
    if (options.bucket_bytes == 0) options.bucket_bytes = from_disk_ ? 64 << 20 : 16 << 20;
    if (options.in_flight_bytes == 0) options.in_flight_bytes = from_disk_ ? 192 << 20 : 64 << 20;
    return std::make_unique<Executor>(options, source_->transports(), kernels_);
}

Status ReceiverCore::make_plan_for_source() {
    const auto& source = source_->layout();
    const auto places = source_->placements();
    if (planned_.sink && planned_.source == source.digest() && std::equal(places.begin(), places.end(), planned_.source_places.begin(), planned_.source_places.end())) {
        return {};
    }
    Planned planned;
    planned.source = source.digest();
    planned.source_places.assign(places.begin(), places.end());
    if (options_.wanted) {
        planned.sink = std::make_shared<const Layout>(*options_.wanted);
    } else {
        WSYNC_TRY(auto whole, Layout::replicated(source.manifest(), 1));
        planned.sink = std::make_shared<const Layout>(std::move(whole));
    }
    PlanOptions plan_options;
    plan_options.sink_ranks = {options_.rank};
    plan_options.replica_seed = options_.rank;
    WSYNC_TRY(planned.plan, make_plan(source, *planned.sink, {}, plan_options));
    WSYNC_TRY(planned.place, pack(*planned.sink, options_.rank));
    WSYNC_TRY(planned.binding, bind_plan(planned.plan, source, places, *planned.sink, options_.rank, planned.place, source_->form()));
    planned.digest = planned.plan.digest();
    for (std::uint32_t i = 0; i < planned.binding.blocks.size(); ++i) planned.all_blocks.push_back(i);
    WSYNC_TRY(auto views, find_views(planned));
    planned.views = std::make_shared<const std::vector<ViewPlace>>(std::move(views));
    if (options_.use == Use::copy && (!slots_ || planned.place.bytes() != planned_.place.bytes())) {
        // Other sizes: the old slabs can't hold them. Those still in use live until they are let go.
        slots_.reset();
        if (options_.make_slot) {
            WSYNC_TRY(auto slot, options_.make_slot(*planned.sink, planned.place));
            options_.slots = {slot};
        }
        WSYNC_TRY(slots_, SlotPool::make(options_.slabs, planned.place.bytes(), options_.slots, options_.huge_pages, options_.executor.threads, ledger_));
    }
    planned_ = std::move(planned);
    return {};
}

Status ReceiverCore::wait_for_news(Deadline deadline) {
    // The eventfd wakes at an interrupt: there is no need to look for one.
    const auto until = Deadline(kLookInterval).sooner(deadline.when() ? Deadline::at(*deadline.when()) : Deadline::never());
    const bool linked = source_ && !from_disk_;
    if (!linked) {
        // The control plane is all there is to watch; the eventfd is looked at between its answers.
        auto changed = watch_->wait(until.sooner(std::chrono::milliseconds(50)));
        if (!changed && changed.error().code != Code::timed_out && changed.error().code != Code::cancelled) return std::move(changed).error();
    }
    std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}};
    if (linked)
        for (int fd : source_->news())
            if (fd >= 0) polled.push_back({fd, POLLIN, 0});
    const int n = ::poll(polled.data(), polled.size(), linked ? until.poll_milliseconds() : 0);
    if (n < 0 && errno != EINTR) return errno_error(errno, "waiting for a version");
    if (n > 0 && polled[0].revents != 0) {
        std::uint64_t drained = 0;
        if (::read(wake_.get(), &drained, sizeof drained) < 0) return errno_error(errno, "reading an eventfd");
    }
    return {};
}

Result<Version> ReceiverCore::await_newer(Deadline deadline) {
    std::optional<Error> last;
    while (true) {
        auto seen = look(deadline);
        if (deadline.interrupted()) return Error{Code::cancelled, fmt::format("waiting for \"{}\" was interrupted", options_.name), {}};
        if (seen && *seen) return **std::move(seen);
        if (!seen) {
            // A publisher that comes, goes or is being replaced is waited for; everything else is final.
            if (!last) tidy_after(seen.error());
            last = std::move(seen).error();
            const bool may_heal = last->code == Code::unavailable || last->code == Code::peer_lost || last->code == Code::not_found || last->code == Code::timed_out;
            if (!may_heal) return *std::move(last);
            disconnect();
        }
        if (deadline.expired()) {
            if (last) return *std::move(last);
            const auto active = pin();
            const auto last_seen = after_ ? after_ : active ? std::optional(active->version) : std::nullopt;
            return Error{Code::timed_out,
                         last_seen ? fmt::format("no version newer than {} came before the deadline", last_seen->label())
                                   : fmt::format("no version of \"{}\" was published at {} before the deadline", options_.name, control_.address()),
                         {}};
        }
        WSYNC_TRY_VOID(wait_for_news(deadline));
    }
}

Result<std::optional<Version>> ReceiverCore::newest() {
    WSYNC_TRY(auto head, read_head(control_, options_.name));
    return head ? std::optional<Version>(head->version) : std::optional<Version>();
}

Result<std::shared_ptr<ServedVersion>> ReceiverCore::stage(Deadline deadline, const std::optional<Version>& after) {
    after_ = after;
    auto staged = stage_newer(deadline.unless(interrupted_));
    const bool ended_early = !staged && (staged.error().code == Code::timed_out || staged.error().code == Code::cancelled);
    if (!ended_early || !interrupted_.exchange(false)) return staged;
    if (staged.error().code == Code::cancelled) return staged;
    return Error{Code::cancelled, fmt::format("receiving \"{}\" was interrupted", options_.name), {}};
}

Result<std::shared_ptr<ServedVersion>> ReceiverCore::stage_newer(Deadline deadline) {
    while (true) {
        WSYNC_TRY(auto version, await_newer(deadline));
        bool again = true;
        auto staged = group_ ? stage_with_group(version, deadline, again) : stage_version(version, deadline);
        if (staged) return staged;
        // The version was recycled before we held it: there is a newer one.
        if (staged.error().code != Code::unavailable || !again || deadline.expired()) {
            if (staged.error().code == Code::peer_lost || staged.error().code == Code::timed_out) disconnect();
            tidy_after(staged.error());
            return std::move(staged).error().within("staging " + version.label());
        }
        WSYNC_TRY_VOID(wait_for_news(deadline.sooner(std::chrono::milliseconds(2))));
    }
}

Result<std::shared_ptr<ServedVersion>> ReceiverCore::stage_of_group(const Version& version, const Version& newest, Deadline deadline) {
    if (version != newest) {
        if (from_disk_) {
            WSYNC_TRY_VOID(connect(version, deadline));
        } else if (version.epoch != source_epoch_) {
            return Error{Code::unavailable, fmt::format("{} belongs to epoch {}, the publisher's is {} now", version.label(), version.epoch, source_epoch_), {}};
        }
    }
    return stage_version(version, deadline);
}

Result<std::shared_ptr<ServedVersion>> ReceiverCore::stage_with_group(const Version& newest, Deadline deadline, bool& again) {
    again = false;
    WSYNC_TRY(const auto turn, group_->begin(newest, [this](const Version& version) { return is_news(version); }, deadline));
    auto staged = stage_of_group(turn.version, newest, deadline);
    if (!staged) {
        again = staged.error().code == Code::unavailable;
        if (!turn.decided) group_->failed(turn, staged.error());
        return staged;
    }
    if (turn.decided) return staged;
    Stopwatch watch;
    WSYNC_TRY_VOID(group_->staged(turn, deadline, again));
    (*staged)->report.stages[Stage::signal] += watch.lap();  // for the other members
    return staged;
}

Result<std::shared_ptr<ServedVersion>> ReceiverCore::stage_version(const Version& version, Deadline deadline) {
    WSYNC_TRY_VOID(health_of_active());
    auto staged = std::make_shared<ServedVersion>();
    staged->version = version;
    staged->layout = planned_.sink;
    staged->rank = options_.rank;
    staged->places = planned_.views;
    auto& report = staged->report;
    report.name = options_.name;
    report.version = version.label();
    report.step = version.step;
    report.use = options_.use;
    report.first = !synced_;
    report.bytes_needed = planned_.binding.bytes;
    if (const auto active = pin(); active && active->version.step > version.step) {
        report.notes.push_back(fmt::format("{} follows {} although its step is lower ({} after {})", version.label(), active->version.label(), version.step,
                                           active->version.step));
    }
    const auto& effective = executor_->options();
    report.configuration = {{"threads", std::to_string(effective.threads)},
                            {"bucket_bytes", std::to_string(effective.bucket_bytes)},
                            {"in_flight_bytes", std::to_string(effective.in_flight_bytes)},
                            {"bytes_per_second", fmt::format("{:.0f}", effective.bytes_per_second)},
                            {"kernels", std::string(kernels_.name)},
                            {"slabs", std::to_string(options_.slabs)}};
    WSYNC_TRY_VOID(options_.use == Use::copy ? stage_copy(*staged, deadline) : stage_map(*staged, deadline));
    report.transport = executor_->transports_used();
    if (report.transport.empty()) report.transport = "none (nothing to move)";
    report.method = options_.use == Use::copy ? (report.transport == "shm" ? "shm_copy" : from_disk_ ? "disk" : report.transport) : "shm_map";
    if (ledger_) report.peak_extra_bytes = ledger_->peak_by_role();
    synced_ = true;
    return staged;
}

Result<SyncReport> ReceiverCore::activate(std::shared_ptr<ServedVersion> staged) {
    if (!staged) return Error{Code::invalid_argument, "nothing was staged", {}};
    if (staged->hold && staged->hold->revoked()) {
        return Error{Code::corrupt, fmt::format("the publisher took the hold on {} away before it was activated", staged->version.label()), {}};
    }
    Stopwatch watch;
    if (options_.use == Use::map_then_install) {
        // The engine has its own copy now: what is active has no pages. The hold ends here, or with the last pin on it.
        auto installed = std::make_shared<ServedVersion>();
        installed->version = staged->version;
        installed->layout = staged->layout;
        installed->rank = staged->rank;
        installed->places = staged->places;
        installed->report = std::move(staged->report);
        staged = std::move(installed);
    }
    std::shared_ptr<ServedVersion> old;
    {
        std::lock_guard lock(mutex_);
        old = std::exchange(active_, staged);
        active_epoch_ = staged->version.epoch;
        active_number_ = staged->version.number;
    }
    staged->report.stages[Stage::activate] = watch.lap();
    if (staged->hold) staged->hold->activated();  // before the old one goes, and though a pin may keep that
    if (old && old != staged && (options_.use == Use::copy || options_.rollback)) previous_ = std::move(old);
    old.reset();
    staged->report.stages[Stage::release] = watch.lap();
    poisoned_ = false;
    return staged->report;
}

Result<Version> ReceiverCore::rollback() {
    if (!previous_) return Error{Code::not_found, "there is no version to go back to: it is kept until the next stage begins, or longer with three slabs", {}};
    std::lock_guard lock(mutex_);
    std::swap(active_, previous_);
    active_epoch_ = active_->version.epoch;
    active_number_ = active_->version.number;
    return active_->version;
}

Status ReceiverCore::health_of_active() {
    const auto active = pin();
    if (active && active->hold && active->hold->revoked()) poisoned_ = true;
    return {};
}

Status ReceiverCore::health() {
    WSYNC_TRY_VOID(health_of_active());
    if (!poisoned_) return {};
    return Error{Code::corrupt, fmt::format("this receiver of \"{}\" is poisoned: it may have used mixed bytes; the next full sync heals it", options_.name), {}};
}

}  // namespace wsync
