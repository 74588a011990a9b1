#include "transport/tcp/tcp_channel.hpp"

#include "transport/bounds.hpp"
#include "transport/wire/readiness.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/socket.h>

namespace wsync::tcp {
namespace {

constexpr std::size_t kScratchBytes = 256 * 1024;
constexpr std::size_t kSendPieces = 256;
constexpr std::uint64_t kSendBytes = 1 << 20;

Strided remote_rows(const Transfer& transfer) {
    return {transfer.remote_offset, transfer.remote_stride, transfer.row_bytes, transfer.rows};
}
Strided local_rows(const Transfer& transfer) {
    return {transfer.local_offset, transfer.local_stride, transfer.row_bytes, transfer.rows};
}

}  // namespace

TcpChannel::TcpChannel(Stream stream, Attached attached, const ChannelOptions& options)
    : stream_(std::move(stream)), attached_(std::move(attached)), options_(options), scratch_(kScratchBytes), pieces_(scratch_) {}

TcpChannel::~TcpChannel() { close(); }

Result<Region> TcpChannel::map() { return Error{Code::unsupported, "tcp maps nothing: use shm between processes of one host"}; }

// --- taking transfers

Status TcpChannel::judge(const Transfer& transfer) const {
    if (transfer.op == Op::write && !attached_.writable) {
        return Error{Code::unsupported, fmt::format("{} does not let others write into this region", attached_.peer)};
    }
    if (transfer.after.value != 0) return Error{Code::unsupported, "tcp knows no device fences: wait for the work first"};
    return check_transfer(transfer, attached_.region_bytes);
}

Result<std::size_t> TcpChannel::submit(std::span<const Transfer> transfers) {
    if (closed_) return Error{Code::cancelled, "the channel was closed"};
    if (broken_) return *broken_;
    std::size_t taken = 0;
    for (const auto& transfer : transfers) {
        if (outstanding_.size() + completions_.size() >= options_.max_outstanding) break;
        if (auto status = judge(transfer); !status) {
            completions_.push_back({transfer.ticket, std::move(status), {}, {}});
            ++taken;
            continue;
        }
        const auto bytes = transfer.row_bytes * transfer.rows;
        if (!outstanding_.empty() && outstanding_bytes_ + bytes > options_.max_outstanding_bytes) break;
        enqueue(transfer);
        ++taken;
    }
    if (auto sent = send_some(); !sent) fail(sent.error());
    return taken;
}

void TcpChannel::enqueue(const Transfer& transfer) {
    const auto sequence = first_sequence_ + outstanding_.size();
    Request request{.op = transfer.op == Op::read ? RequestOp::read : RequestOp::write, .sequence = sequence, .received = first_sequence_,
                    .range = remote_rows(transfer), .generation = transfer.generation};
    const auto frame = encode(request);
    output_.insert(output_.end(), frame.begin(), frame.end());
    acknowledged_ = first_sequence_;
    auto& item = outstanding_.emplace_back();
    item.transfer = transfer;
    item.local = local_rows(transfer);
    outstanding_bytes_ += item.local.total();
    if (transfer.op == Op::read) {
        item.landing.emplace(transfer.local->address, item.local, transfer.want_digest ? options_.kernels : nullptr);
    } else if (item.local.total() > 0) {
        marks_.push_back({output_.size(), sequence});
    }
}

// --- sending

Result<bool> TcpChannel::send_some() {
    bool moved = false;
    while (output_at_ < output_.size() || !marks_.empty()) {
        const auto end = marks_.empty() ? output_.size() : marks_.front().at;
        if (output_at_ == end) {
            WSYNC_TRY(const bool some, send_payload());
            moved = moved || some;
            if (!some) return moved;
            continue;
        }
        const auto sent = ::send(stream_.fd(), output_.data() + output_at_, end - output_at_,
                                 MSG_NOSIGNAL | MSG_DONTWAIT | (marks_.empty() ? 0 : MSG_MORE));
        if (sent >= 0) {
            output_at_ += static_cast<std::size_t>(sent);
            moved = true;
        } else if (errno == EAGAIN) {
            return moved;
        } else if (errno != EINTR) {
            return Error{Code::peer_lost, fmt::format("{} broke the connection ({})", attached_.peer, errno_error(errno, "send").message)};
        }
    }
    output_.clear();
    output_at_ = 0;
    return moved;
}

// The payload at the first mark, as far as the socket takes it; true when some went, the mark goes with its last byte.
Result<bool> TcpChannel::send_payload() {
    auto& item = outstanding(marks_.front().sequence);
    std::array<iovec, kSendPieces> pieces;
    std::size_t count = 0;
    std::uint64_t bytes = 0;
    while (count < pieces.size() && bytes < kSendBytes && item.payload_sent + bytes < item.local.total()) {
        const auto run = item.local.run_at(item.payload_sent + bytes);
        const auto part = std::min(run.bytes, kSendBytes - bytes);
        pieces[count++] = {item.transfer.local->address + run.offset, static_cast<std::size_t>(part)};
        bytes += part;
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    ssize_t sent = 0;
    do sent = ::sendmsg(stream_.fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        if (errno == EAGAIN) return false;
        return Error{Code::peer_lost, fmt::format("{} broke the connection ({})", attached_.peer, errno_error(errno, "send").message)};
    }
    item.payload_sent += static_cast<std::uint64_t>(sent);
    if (item.payload_sent == item.local.total()) marks_.pop_front();
    return true;
}

// --- receiving

// One recvmsg: the next bytes of the payload and, where they are its last, the frames behind it. Never more than is
// surely sent, so that nothing lands where it does not belong.
Result<bool> TcpChannel::receive_some() {
    if (outstanding_.empty()) return false;
    std::size_t payload = 0;
    std::array<iovec, Pieces::kMax + 1> parts;
    std::size_t count = 0;
    if (phase_ == Phase::payload) {
        payload = prepare_payload();
        count = pieces_.count();
        std::copy_n(pieces_.data(), count, parts.begin());
    }
    std::size_t wanted = kResponseBytes;
    if (phase_ != Phase::header) {
        const bool more = response_end_ < first_sequence_ + outstanding_.size();
        wanted = payload < response_left_ ? 0 : kTrailerBytes + (more ? kResponseBytes : 0);
    }
    if (wanted > 0) parts[count++] = {control_.data() + control_bytes_, wanted - control_bytes_};

    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    ssize_t got = 0;
    do got = ::recvmsg(stream_.fd(), &message, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) return false;
    if (got < 0) return Error{Code::peer_lost, fmt::format("{} broke the connection ({})", attached_.peer, errno_error(errno, "receive").message)};
    if (got == 0) return Error{Code::peer_lost, fmt::format("{} hung up", attached_.peer)};
    const auto landed = std::min(static_cast<std::size_t>(got), payload);
    take_payload(landed);
    control_bytes_ += static_cast<std::size_t>(got) - landed;
    WSYNC_TRY_VOID(take_control().within(fmt::format("reading the answers of {}", attached_.peer)));
    return true;
}

std::size_t TcpChannel::prepare_payload() {
    pieces_.clear();
    for (auto sequence = landing_sequence_; sequence < response_end_ && !pieces_.full() && pieces_.bytes() < options_.piece_bytes; ++sequence) {
        auto& landing = *outstanding(sequence).landing;
        if (landing.prepare(pieces_, options_.piece_bytes - pieces_.bytes()) < landing.left()) break;
    }
    return pieces_.bytes();
}

void TcpChannel::take_payload(std::size_t bytes) {
    response_left_ -= bytes;
    while (landing_sequence_ < response_end_) {
        auto& item = outstanding(landing_sequence_);
        const auto part = std::min(bytes, item.landing->prepared());
        item.landing->landed(part);
        bytes -= part;
        if (!item.landing->whole()) break;
        item.digest = item.landing->digest();
        ++landing_sequence_;
    }
    if (phase_ == Phase::payload && response_left_ == 0) phase_ = Phase::trailer;
}

Status TcpChannel::take_control() {
    for (;;) {
        const auto frame_bytes = phase_ == Phase::trailer ? kTrailerBytes : kResponseBytes;
        if (phase_ == Phase::payload || control_bytes_ < frame_bytes) return {};
        std::array<std::byte, kResponseBytes> frame;
        std::copy_n(control_.begin(), frame_bytes, frame.begin());
        std::copy(control_.begin() + frame_bytes, control_.begin() + control_bytes_, control_.begin());
        control_bytes_ -= frame_bytes;
        if (phase_ == Phase::trailer) {
            WSYNC_TRY(const auto trailer, decode_trailer(std::span(frame).first<kTrailerBytes>()));
            phase_ = Phase::header;
            end_reads(trailer);
        } else {
            WSYNC_TRY(const auto response, decode_response(frame));
            WSYNC_TRY_VOID(begin_response(response));
        }
    }
}

Status TcpChannel::begin_response(const Response& response) {
    if (response.sequence != first_sequence_ || response.count > outstanding_.size()) {
        return Error{Code::corrupt, fmt::format("an answer to requests {} to {}, where {} to {} are under way", response.sequence,
                                                response.sequence + response.count - 1, first_sequence_, first_sequence_ + outstanding_.size() - 1)};
    }
    auto& front = outstanding_.front();
    if (!response.ok || front.transfer.op == Op::write) {
        if (response.count != 1 || response.bytes != 0 || (front.transfer.op == Op::write && front.payload_sent < front.local.total())) {
            return Error{Code::corrupt, fmt::format("an answer to request {} that does not fit it", response.sequence)};
        }
        if (response.ok) {
            complete_front({});
        } else {
            complete_front(refusal(response.code, front.transfer));
        }
        return {};
    }
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < response.count; ++i) {
        if (outstanding_[i].transfer.op != Op::read) return Error{Code::corrupt, "an answer with bytes to a write"};
        bytes += outstanding_[i].local.total();
    }
    if (bytes != response.bytes) {
        return Error{Code::corrupt, fmt::format("an answer of {} bytes to {} requests for {}", response.bytes, response.count, bytes)};
    }
    response_end_ = first_sequence_ + response.count;
    response_left_ = bytes;
    landing_sequence_ = first_sequence_;
    phase_ = bytes > 0 ? Phase::payload : Phase::trailer;
    take_payload(0);  // what is empty has landed
    return {};
}

void TcpChannel::end_reads(const Trailer& trailer) {
    while (first_sequence_ < response_end_) {
        if (trailer.ok) {
            complete_front({});
        } else {
            complete_front(refusal(trailer.code, outstanding_.front().transfer));
        }
    }
}

void TcpChannel::complete_front(Status status) {
    auto& front = outstanding_.front();
    Completion completion{front.transfer.ticket, std::move(status), {}, {}};
    if (completion.status) completion.digest = front.digest;
    completions_.push_back(std::move(completion));
    outstanding_bytes_ -= front.local.total();
    outstanding_.pop_front();
    ++first_sequence_;
}

// A peer that waits to let go of the region hears at once that nothing more is on its way.
void TcpChannel::acknowledge_if_idle() {
    if (!outstanding_.empty() || acknowledged_ == first_sequence_ || broken_) return;
    const auto frame = encode(Request{.op = RequestOp::acknowledge, .received = first_sequence_});
    output_.insert(output_.end(), frame.begin(), frame.end());
    acknowledged_ = first_sequence_;
    if (auto sent = send_some(); !sent) fail(sent.error());
}

Error TcpChannel::refusal(Code code, const Transfer& transfer) const {
    switch (code) {
        case Code::unavailable:
            return Error{code, fmt::format("{} has closed the exposed region: attach to its next one", attached_.peer)};
        case Code::corrupt:
            return Error{code, fmt::format("the slab of {} is no longer at generation {}: it was written to; stage the newest version", attached_.peer,
                                           transfer.generation)};
        case Code::io_error:
            return Error{code, fmt::format("{} could not read or write the file behind its region", attached_.peer)};
        default:
            return Error{code, fmt::format("{} refused {} bytes at offset {} of its region ({})", attached_.peer, transfer.row_bytes * transfer.rows,
                                           transfer.remote_offset, name_of(code))};
    }
}

// --- waiting and ending

Result<std::size_t> TcpChannel::wait(std::span<Completion> out, Deadline deadline) {
    if (out.empty()) return std::size_t{0};
    // A poll does what can be done without waiting, but not a whole model.
    const bool poll_only = deadline.expired();
    int rounds = poll_only ? 16 : 0;
    for (;;) {
        if (!completions_.empty()) {
            const auto count = std::min(out.size(), completions_.size());
            std::move(completions_.begin(), completions_.begin() + static_cast<std::ptrdiff_t>(count), out.begin());
            completions_.erase(completions_.begin(), completions_.begin() + static_cast<std::ptrdiff_t>(count));
            return count;
        }
        if (outstanding_.empty()) return std::size_t{0};
        auto moved = progress();
        if (!moved) {
            fail(moved.error());
            continue;
        }
        acknowledge_if_idle();
        if (!completions_.empty()) continue;
        if (!*moved && peer_dead_) {
            fail(Error{Code::peer_lost, fmt::format("{} died", attached_.peer)});
            continue;
        }
        if (poll_only ? (!*moved || --rounds == 0) : deadline.expired()) {
            if (poll_only) return std::size_t{0};
            return Error{Code::timed_out, fmt::format("{} transfers of {} bytes from {} are under way still", outstanding_.size(), outstanding_bytes_,
                                                      attached_.peer)};
        }
        if (!*moved) WSYNC_TRY_VOID(sleep(deadline));
    }
}

Result<bool> TcpChannel::progress() {
    WSYNC_TRY(const bool sent, send_some());
    WSYNC_TRY(const bool received, receive_some());
    return sent || received;
}

Status TcpChannel::sleep(Deadline deadline) {
    const bool to_send = output_at_ < output_.size() || !marks_.empty();
    std::array<pollfd, 2> items{pollfd{stream_.fd(), static_cast<short>(POLLIN | (to_send ? POLLOUT : 0)), 0},
                                pollfd{attached_.peer_process.get(), POLLIN, 0}};
    WSYNC_TRY(const bool ready, wait_ready(items, deadline));
    // What the peer sent before it died is received first.
    if (ready && items[1].revents != 0) peer_dead_ = true;
    return {};
}

void TcpChannel::fail(const Error& error) {
    broken_ = error;
    end_all(error);
}

void TcpChannel::close() {
    if (closed_) return;
    closed_ = true;
    end_all(Error{Code::cancelled, "the channel was closed"});
}

void TcpChannel::end_all(const Error& error) {
    stream_.shut_down();
    marks_.clear();
    output_.clear();
    output_at_ = 0;
    while (!outstanding_.empty()) complete_front(error);
}

}  // namespace wsync::tcp
