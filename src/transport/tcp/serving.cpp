#include "transport/tcp/serving.hpp"

#include "transport/bounds.hpp"
#include "transport/tcp/attachment.hpp"
#include "transport/tcp/request.hpp"
#include "transport/tcp/request_reader.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <unistd.h>

namespace wsync::tcp {
namespace {

constexpr std::size_t kMaxGroup = 4096;

class Server {
public:
    Server(Stream& stream, Exposed& exposed, int client_process, const ServeOptions& options)
        : visit_(exposed, stream), exposed_(exposed), options_(options), reader_(stream.fd(), client_process, options.writer.stall_timeout),
          writer_(stream.fd(), client_process, options.writer) {}

    // Until the stream is of no more use.
    Status run() {
        for (;;) {
            if (!reader_.has_frame()) {
                WSYNC_TRY_VOID(writer_.flush(false));
                WSYNC_TRY_VOID(reader_.wait_frame());
            }
            WSYNC_TRY(const auto request, decode_request(reader_.frame()));
            WSYNC_TRY_VOID(note_received(request));
            if (request.op == RequestOp::acknowledge) {
                reader_.pop_frame();
                continue;
            }
            if (request.sequence != next_sequence_) {
                return Error{Code::corrupt, fmt::format("request {} came where {} was due", request.sequence, next_sequence_)};
            }
            WSYNC_TRY_VOID(request.op == RequestOp::write ? serve_write(request) : serve_reads(request));
        }
    }

private:
    struct Verdict {
        std::optional<Code> refusal;
        std::optional<std::uint64_t> generation;  // that was compared
    };

    Status note_received(const Request& request) {
        if (request.received < received_ || request.received > next_sequence_) {
            return Error{Code::corrupt, fmt::format("the peer says that it holds {} of {} answers", request.received, next_sequence_)};
        }
        if (request.received == received_) return {};
        received_ = request.received;
        visit_.confirmed(received_);
        return {};
    }

    // Whether a request may be served. Between begin and served.
    [[nodiscard]] Verdict judge(const Request& request) const {
        if (request.op == RequestOp::write && !exposed_.allow_write()) return {Code::unsupported, {}};
        const auto& range = request.range;
        if (!check_rows(range.offset, range.stride, range.row_bytes, range.rows, exposed_.region_bytes(), "exposed")) return {Code::invalid_argument, {}};
        if (request.generation == 0) return {};
        const auto generation = visit_.generation();
        if (!generation) return {};
        if (*generation != request.generation) return {Code::corrupt, {}};
        return {std::nullopt, generation};
    }

    // One header answers as many reads as are at hand, may be served, and fit into a group.
    Status serve_reads(const Request& first) {
        if (!visit_.begin()) return refuse(Code::unavailable);
        const auto verdict = judge(first);
        if (verdict.refusal) {
            visit_.served(0);
            return refuse(*verdict.refusal);
        }
        reader_.pop_frame();
        group_.assign(1, first.range);
        std::uint64_t bytes = first.range.total();
        auto compared = verdict.generation;
        while (group_.size() < kMaxGroup && reader_.has_frame()) {
            const auto next = decode_request(reader_.frame());
            // What is wrong with it is found again when it is at the front.
            if (!next || next->op != RequestOp::read || next->sequence != next_sequence_ + group_.size()) break;
            if (next->received < received_ || next->received > next_sequence_) break;
            const auto other = judge(*next);
            if (other.refusal || bytes + next->range.total() > options_.group_bytes) break;
            if (other.generation && compared && *other.generation != *compared) break;
            WSYNC_TRY_VOID(note_received(*next));
            if (other.generation) compared = other.generation;
            bytes += next->range.total();
            group_.push_back(next->range);
            reader_.pop_frame();
        }
        Response response{.ok = true, .sequence = next_sequence_, .count = static_cast<std::uint32_t>(group_.size()), .bytes = bytes};
        next_sequence_ += group_.size();
        WSYNC_TRY_VOID(writer_.control(encode(response)));
        WSYNC_TRY_VOID(send_group());
        return end_answer(compared);
    }

    // The ranges one behind the other; neighbours in the region go as one run.
    Status send_group() {
        Strided::Run pending;
        for (const auto& range : group_) {
            for (std::uint64_t at = 0; at < range.total();) {
                const auto run = range.run_at(at);
                at += run.bytes;
                if (pending.bytes > 0 && run.offset == pending.offset + pending.bytes) {
                    pending.bytes += run.bytes;
                    continue;
                }
                WSYNC_TRY_VOID(writer_.payload(visit_.region(), pending.offset, pending.bytes));
                pending = run;
            }
        }
        return writer_.payload(visit_.region(), pending.offset, pending.bytes);
    }

    // Where a generation was compared the bytes must have been read before it is looked at again; elsewhere the trailer
    // leaves with them.
    Status end_answer(const std::optional<std::uint64_t>& compared) {
        Trailer trailer{.ok = true};
        if (compared || !mapped()) {
            WSYNC_TRY_VOID(writer_.flush(true));
            if (compared && visit_.generation() != compared) trailer = {false, Code::corrupt};
        }
        if (writer_.take_source_error()) trailer = {false, Code::io_error};
        WSYNC_TRY_VOID(writer_.control(encode(trailer)));
        if (!reader_.has_frame() || writer_.holds_payload()) WSYNC_TRY_VOID(writer_.flush(reader_.has_frame()));
        visit_.served(next_sequence_);
        // Too late to say it in the trailer: only the end of the stream is left to void the answer.
        if (auto error = writer_.take_source_error()) return *std::move(error);
        return {};
    }

    [[nodiscard]] bool mapped() const { return visit_.region().address != nullptr; }

    // The front request is answered by a status alone.
    Status refuse(Code code) {
        const auto request = decode_request(reader_.frame());
        reader_.pop_frame();
        if (request && request->op == RequestOp::write) {
            std::uint64_t bytes = 0;
            // Where the next frame begins can't be known when the length overflows.
            if (__builtin_mul_overflow(request->range.row_bytes, request->range.rows, &bytes)) {
                return Error{Code::corrupt, "a write of more than 2^64 bytes"};
            }
            WSYNC_TRY_VOID(writer_.flush(false));
            WSYNC_TRY_VOID(reader_.discard(bytes));
        }
        return answer({.code = code, .ok = false, .sequence = next_sequence_, .count = 1});
    }

    Status answer(const Response& response) {
        ++next_sequence_;
        return writer_.control(encode(response));
    }

    Status serve_write(const Request& request) {
        if (!visit_.begin()) return refuse(Code::unavailable);
        const auto verdict = judge(request);
        if (verdict.refusal) {
            visit_.served(0);
            return refuse(*verdict.refusal);
        }
        reader_.pop_frame();
        // The peer may wait for earlier answers before it sends the payload.
        WSYNC_TRY_VOID(writer_.flush(false));
        WSYNC_TRY(const bool written, write_rows(request.range));
        Response response{.ok = written, .sequence = next_sequence_, .count = 1};
        if (!written) response.code = Code::io_error;
        if (verdict.generation && visit_.generation() != verdict.generation) {
            response.ok = false;
            response.code = Code::corrupt;
        }
        visit_.served(0);
        return answer(response);
    }

    // False: the file behind the region took less.
    Result<bool> write_rows(const Strided& range) {
        const auto& region = visit_.region();
        if (region.address != nullptr) {
            Landing landing(region.address, range, nullptr);
            WSYNC_TRY_VOID(reader_.receive(landing));
            return true;
        }
        bool good = true;
        std::vector<std::byte> step(std::min<std::uint64_t>(range.total(), 256 * 1024));
        for (std::uint64_t at = 0; at < range.total();) {
            const auto run = range.run_at(at);
            const auto part = std::min<std::uint64_t>(run.bytes, step.size());
            WSYNC_TRY_VOID(reader_.receive(std::span(step).first(part)));
            for (std::size_t done = 0; good && done < part;) {
                const auto wrote = ::pwrite(region.fd, step.data() + done, part - done, static_cast<off_t>(region.fd_offset + run.offset + done));
                if (wrote > 0) done += static_cast<std::size_t>(wrote);
                if (wrote == 0 || (wrote < 0 && errno != EINTR)) good = false;
            }
            at += part;
        }
        return good;
    }

    Exposed::Visit visit_;
    Exposed& exposed_;
    const ServeOptions& options_;
    RequestReader reader_;
    ResponseWriter writer_;
    std::uint64_t next_sequence_ = 0;  // of the next request that is answered
    std::uint64_t received_ = 0;       // answers that the peer holds, by its own word
    std::vector<Strided> group_;
};

}  // namespace

void serve_stream(Stream& stream, const ExposedTable& table, const ServeOptions& options) {
    const Deadline deadline(options.attach_timeout);
    const auto frame = stream.receive_frame(kMaxAttachBytes, deadline);
    if (!frame) return;
    const auto request = decode_attach_request(*frame);
    AttachReply reply;
    std::shared_ptr<Exposed> exposed;
    if (!request) {
        reply.refusal = request.error();
    } else if (exposed = table.find(request->exposure, request->nonce); exposed == nullptr) {
        reply.refusal = Error{Code::not_found, fmt::format("exposure {} does not exist here (any more)", request->exposure)};
    } else {
        reply.region_bytes = exposed->region_bytes();
        reply.writable = exposed->allow_write();
    }
    if (!stream.send_frame(encode(reply), deadline) || reply.refusal) return;

    // Where the client can't be watched as a process, keepalive and the stall timeout find its death.
    UniqueFd client_process;
    if (auto process = open_pidfd(request->client)) {
        client_process = *std::move(process);
    } else if (process.error().code == Code::not_found) {
        return;
    }
    // The reason why a stream ended is the peer's to report: it sees its end of it.
    (void)Server(stream, *exposed, client_process.get(), options).run();
}

}  // namespace wsync::tcp
