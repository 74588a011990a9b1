// The client's side: one authenticated stream to one exposed region.
//
// Requests wait in a queue of our own and go as far as the socket takes them; wait() both sends and receives, so that
// two full sockets never hold each other up. Bytes are received straight into the rows that want them.
#pragma once

#include "transport/tcp/landing.hpp"
#include "transport/tcp/request.hpp"
#include "transport/transport.hpp"
#include "transport/wire/stream.hpp"

#include <deque>

namespace wsync::tcp {

struct ChannelOptions {
    const KernelSet* kernels = nullptr;
    std::size_t max_outstanding = 1024;
    std::uint64_t max_outstanding_bytes = 256ULL << 20;  // one transfer is always taken
    std::size_t piece_bytes = 1 << 20;                   // received at a time
};

struct Attached {
    std::uint64_t region_bytes = 0;
    bool writable = false;
    UniqueFd peer_process;                               // pidfd; none on another machine
    std::string peer;                                    // for messages
};

class TcpChannel final : public Channel {
public:
    TcpChannel(Stream stream, Attached attached, const ChannelOptions& options);
    ~TcpChannel() override;

    Result<Region> map() override;
    Result<std::size_t> submit(std::span<const Transfer> transfers) override;
    Result<std::size_t> wait(std::span<Completion> out, Deadline deadline) override;
    void close() override;
    std::optional<std::uint64_t> generation() const override { return std::nullopt; }

private:
    struct Outstanding {
        Transfer transfer;
        Strided local;
        std::optional<Landing> landing;      // of a read
        std::uint64_t payload_sent = 0;      // of a write
        std::optional<Digest> digest;
    };
    // Requests up to `at` in the output, then the payload of `sequence`.
    struct PayloadMark {
        std::size_t at = 0;
        std::uint64_t sequence = 0;
    };
    enum class Phase { header, payload, trailer };

    [[nodiscard]] Status judge(const Transfer& transfer) const;
    void enqueue(const Transfer& transfer);
    [[nodiscard]] Outstanding& outstanding(std::uint64_t sequence) { return outstanding_[sequence - first_sequence_]; }

    // True when something moved. An Error ends the stream.
    [[nodiscard]] Result<bool> send_some();
    [[nodiscard]] Result<bool> send_payload();
    [[nodiscard]] Result<bool> receive_some();
    [[nodiscard]] Result<bool> progress();
    std::size_t prepare_payload();
    void take_payload(std::size_t bytes);
    [[nodiscard]] Status take_control();
    [[nodiscard]] Status begin_response(const Response& response);
    void end_reads(const Trailer& trailer);
    void complete_front(Status status);
    void acknowledge_if_idle();
    [[nodiscard]] Status sleep(Deadline deadline);
    void fail(const Error& error);
    void end_all(const Error& error);
    [[nodiscard]] Error refusal(Code code, const Transfer& transfer) const;

    Stream stream_;
    Attached attached_;
    ChannelOptions options_;
    std::optional<Error> broken_;
    bool closed_ = false, peer_dead_ = false;

    std::deque<Outstanding> outstanding_;     // in the order of their sequences
    std::uint64_t first_sequence_ = 0;        // of outstanding_.front()
    std::uint64_t outstanding_bytes_ = 0;
    std::deque<Completion> completions_;

    Bytes output_;                            // encoded requests
    std::size_t output_at_ = 0;
    std::deque<PayloadMark> marks_;
    std::uint64_t acknowledged_ = 0;          // answers that a frame in the output or on its way has confirmed

    Phase phase_ = Phase::header;
    std::array<std::byte, kTrailerBytes + kResponseBytes> control_{};
    std::size_t control_bytes_ = 0;
    std::uint64_t response_end_ = 0;          // the sequence behind the reads that the response answers
    std::uint64_t response_left_ = 0;         // its payload that has not been received
    std::uint64_t landing_sequence_ = 0;      // the first of its reads that has not landed whole
    std::vector<std::byte> scratch_;
    Pieces pieces_;
};

}  // namespace wsync::tcp
