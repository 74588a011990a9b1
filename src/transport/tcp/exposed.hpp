// One exposed region, the streams that are attached to it, and what is under way from it.
//
// "Under way" lasts until the peer has said that it holds the bytes: TCP's own acknowledgement comes while the
// receiver's socket still refers to our pages. Thread-safe.
#pragma once

#include "base/secret.hpp"
#include "transport/transport.hpp"
#include "transport/wire/stream.hpp"

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>

namespace wsync::tcp {

class Exposed {
public:
    Exposed(Region region, const ExposeOptions& options, Nonce nonce)
        : region_(std::move(region)), region_bytes_(region_.bytes), generation_(options.generation),
          allow_write_(options.allow_write && region_.writable), nonce_(nonce) {}

    [[nodiscard]] std::uint64_t region_bytes() const noexcept { return region_bytes_; }
    [[nodiscard]] bool allow_write() const noexcept { return allow_write_; }
    [[nodiscard]] const Nonce& nonce() const noexcept { return nonce_; }

    // A stream's place in the books. Leaves when it is destroyed: what its peer did not confirm is no longer under way.
    class Visit {
    public:
        Visit(Exposed& exposed, Stream& stream);
        ~Visit();
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;

        // Before requests are served: the region and its generation may be touched until served(). False: the exposure is
        // closed.
        [[nodiscard]] bool begin();
        // Between begin and served only.
        [[nodiscard]] const Region& region() const noexcept { return exposed_.region_; }
        [[nodiscard]] std::optional<std::uint64_t> generation() const noexcept;
        // The stream's answers up to `answers_end` may refer to the region until the peer holds them.
        void served(std::uint64_t answers_end);
        // The peer holds the stream's first `answers` whole.
        void confirmed(std::uint64_t answers);

    private:
        Exposed& exposed_;
        std::list<Visit*>::iterator place_;
        Stream& stream_;
        // Guarded by exposed_.mutex_.
        std::uint64_t served_ = 0, confirmed_ = 0;
        bool serving_ = false;
        [[nodiscard]] bool under_way() const { return serving_ || served_ > confirmed_; }
        friend class Exposed;
    };

    // Refuses what comes from now on and waits for what is under way; then the region is let go. Error{timed_out} names
    // who did not confirm; the region is kept until they do or leave.
    [[nodiscard]] Status close(Deadline deadline);
    // After a close that timed out: breaks the streams that still have something under way and waits until no thread
    // touches the region. It is let go.
    void cut();

private:
    [[nodiscard]] bool idle() const;  // mutex_ held
    void let_go_if_idle();            // mutex_ held
    void note_change();               // mutex_ held

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    Region region_;
    const std::uint64_t region_bytes_;
    const std::atomic<std::uint64_t>* generation_;
    const bool allow_write_;
    const Nonce nonce_;
    bool closed_ = false;
    std::list<Visit*> visits_;
};

// The exposures of a transport by their ids. Thread-safe.
class ExposedTable {
public:
    std::uint64_t add(std::shared_ptr<Exposed> exposed);
    void remove(std::uint64_t id);
    // Null: no such exposure, or another nonce.
    [[nodiscard]] std::shared_ptr<Exposed> find(std::uint64_t id, const Nonce& nonce) const;

private:
    mutable std::mutex mutex_;
    std::map<std::uint64_t, std::shared_ptr<Exposed>> rows_;
    std::uint64_t next_id_ = 1;
};

}  // namespace wsync::tcp
