#include "control/directory/directory_store.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <map>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

namespace wsync {
namespace {

// Where nothing says that a file changed (a network file system), each is read again after so long: an inode may come back
// with the same size within one tick of the file system's clock.
constexpr auto kReadAgain = std::chrono::seconds(1);

// inotify of this host's own changes wakes it at once; polling sees those of other hosts, and leases that end.
class DirectoryWatch final : public Watch {
public:
    DirectoryWatch(std::shared_ptr<DirectoryStore> store, std::string prefix, UniqueFd wake, UniqueFd inotify)
        : store_(std::move(store)), prefix_(std::move(prefix)), wake_(std::move(wake)), inotify_(std::move(inotify)) {}

    Result<std::vector<ControlEntry>> wait(Deadline deadline) override {
        while (true) {
            if (std::uint64_t count = 0; ::read(wake_.get(), &count, sizeof count) > 0) {
                return Error{Code::cancelled, fmt::format("the watch of \"{}\" was woken", prefix_), {}};
            }
            WSYNC_TRY(auto changes, take_changes());
            if (!changes.empty()) return changes;
            if (deadline.expired()) {
                return Error{Code::timed_out, fmt::format("nothing changed under control key \"{}\" at {}", prefix_, store_->folder().path()), {}};
            }
            WSYNC_TRY_VOID(await_events(deadline));
        }
    }

    void wake() override {
        const std::uint64_t one = 1;
        while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
        }
    }

private:
    Result<std::vector<ControlEntry>> take_changes() {
        const auto now = Deadline::clock::now();
        const bool read_all = std::exchange(events_, false) || now >= read_again_;
        if (read_all) read_again_ = now + kReadAgain;
        ScanOptions options;
        const StoredValues nothing;
        options.known = read_all ? &nothing : &known_;
        // A directory is watched before it is listed: what changes after the listing wakes us.
        options.on_directory = [this](const std::string& path) {
            if (!inotify_) return;
            constexpr auto kEvents = IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
            (void)::inotify_add_watch(inotify_.get(), path.c_str(), kEvents | IN_ONLYDIR | IN_DONT_FOLLOW);
        };
        WSYNC_TRY(auto found, store_->seen(prefix_, options));
        std::vector<ControlEntry> changes;
        for (const auto& [key, value] : found) {
            const auto before = known_.find(key);
            if (before != known_.end() && before->second.record.revision == value.record.revision) continue;
            changes.push_back({key, value.record.value, value.record.revision});
        }
        for (const auto& [key, value] : known_)
            if (!found.contains(key)) changes.push_back({key, {}, 0});
        known_ = std::move(found);
        return changes;
    }

    Status await_events(const Deadline& deadline) {
        const auto until = deadline.sooner(Deadline(store_->options().poll_interval));
        pollfd polled[2] = {{wake_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
        while (!until.expired()) {
            const int ready = ::poll(polled, inotify_ ? 2 : 1, until.poll_milliseconds());
            if (ready < 0 && errno != EINTR) return errno_error(errno, "waiting for changes of a control folder");
            if (ready <= 0) continue;
            if (polled[0].revents != 0) return {};
            if (drain_events()) {
                events_ = true;
                return {};
            }
        }
        return {};
    }

    // True when there was one of use: a value's temporary file is not.
    bool drain_events() {
        bool useful = false;
        alignas(inotify_event) char buffer[4096];
        while (true) {
            const auto n = ::read(inotify_.get(), buffer, sizeof buffer);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return useful;
            for (const char* at = buffer; at < buffer + n;) {
                const auto* event = reinterpret_cast<const inotify_event*>(at);
                const std::string_view name(event->len > 0 ? event->name : "");
                useful = useful || (event->mask & IN_ISDIR) != 0 || !name.ends_with(",new");
                at += sizeof(inotify_event) + event->len;
            }
        }
    }

    std::shared_ptr<DirectoryStore> store_;
    std::string prefix_;
    UniqueFd wake_;
    UniqueFd inotify_;  // none where the system has no more: polling alone
    StoredValues known_;
    bool events_ = true;
    Deadline::clock::time_point read_again_{};
};

}  // namespace

Result<std::unique_ptr<Watch>> make_directory_watch(std::shared_ptr<DirectoryStore> store, std::string prefix) {
    UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return errno_error(errno, "making the eventfd of a watch");
    UniqueFd inotify(store->options().use_inotify ? ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1);
    return std::unique_ptr<Watch>(new DirectoryWatch(std::move(store), std::move(prefix), std::move(wake), std::move(inotify)));
}

}  // namespace wsync
