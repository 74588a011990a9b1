// The exporter's side of one stream: reads requests, answers them in order, until the peer leaves.
#pragma once

#include "transport/tcp/exposed.hpp"
#include "transport/tcp/response_writer.hpp"

namespace wsync::tcp {

struct ServeOptions {
    WriterOptions writer{};
    std::uint64_t group_bytes = 1 << 20;   // small reads that are answered together
    Deadline::clock::duration attach_timeout = std::chrono::seconds(5);
};

// On the stream's own thread; returns when the peer has gone, broke the protocol, took nothing for the stall timeout, or
// when the stream was shut down. Nothing that the peer sends is trusted. SIGPIPE must be blocked in this thread (in those
// of a StreamServer it is): sendfile and splice raise it.
void serve_stream(Stream& stream, const ExposedTable& table, const ServeOptions& options);

}  // namespace wsync::tcp
