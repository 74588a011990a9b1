// Sends frames and ranges of a region down one socket, with as few copies and system calls as they allow.
//
// Runs of a mapped region of at least splice_bytes go by vmsplice and splice (no copy: the socket holds the pages until
// the peer has read them), runs of an unmapped file by sendfile, middling ones are copied by sendmsg, and small ones are
// gathered in a scratch first: a processor overlaps the cache misses of many rows, sendmsg takes them one by one.
// A source that can't be read (a file that shrank) is replaced by zeros, so that the stream stays in step; the caller
// asks take_source_error() and says so in the trailer.
//
// One thread. An Error means that the stream is of no more use: peer_lost (a dead peer is lost although its forked child
// may keep the socket open), or timed_out when the peer took nothing for stall_timeout.
#pragma once

#include "memory/region.hpp"
#include "wsync/base/deadline.hpp"
#include "wsync/base/unique_fd.hpp"

#include <array>
#include <sys/uio.h>
#include <vector>

namespace wsync::tcp {

struct WriterOptions {
    bool splice = true;
    std::size_t splice_bytes = 16 * 1024;
    std::size_t gather_bytes = 2 * 1024;   // smaller runs are gathered
    Deadline::clock::duration stall_timeout = std::chrono::seconds(30);
};

class ResponseWriter {
public:
    // `socket` is borrowed and non-blocking; `peer_process` is a pidfd of the peer or -1.
    ResponseWriter(int socket, int peer_process, const WriterOptions& options);

    // A frame; copied.
    [[nodiscard]] Status control(std::span<const std::byte> bytes);
    // The region must stay as it is until flush() has returned.
    [[nodiscard]] Status payload(const Region& region, std::uint64_t offset, std::uint64_t bytes);
    // Hands all to the socket. `more`: further bytes follow at once, a part of a segment may wait for them.
    [[nodiscard]] Status flush(bool more);
    // Whether the region is still needed for what waits for flush(); frames may wait on, to leave together with the next ones.
    [[nodiscard]] bool holds_payload() const noexcept { return pieces_bytes_ > gathered_; }

    // What kept the source from being read since the last call.
    [[nodiscard]] std::optional<Error> take_source_error() { return std::exchange(source_error_, std::nullopt); }

private:
    enum class Mode { copy, splice };
    [[nodiscard]] Status gather(const std::byte* from, std::size_t bytes);
    [[nodiscard]] Status turn_to(Mode mode);
    [[nodiscard]] Status send_copied(bool more);
    [[nodiscard]] Status send_spliced();
    [[nodiscard]] Status send_file(const Region& region, std::uint64_t offset, std::uint64_t bytes);
    [[nodiscard]] Status send_zeros(std::uint64_t bytes, Error why);
    [[nodiscard]] Status wait_writable();
    void drop_sent(std::size_t bytes);

    int socket_, peer_process_;
    WriterOptions options_;
    UniqueFd pipe_in_, pipe_out_;
    Mode mode_ = Mode::copy;
    std::vector<iovec> pieces_;
    std::size_t next_ = 0;               // the first piece that has not been sent whole
    std::uint64_t pieces_bytes_ = 0;     // of those
    std::vector<std::byte> scratch_;
    std::size_t gathered_ = 0;           // of the scratch
    bool held_ = false;                  // the socket may hold back a part of a segment
    std::optional<Error> source_error_;
};

}  // namespace wsync::tcp
