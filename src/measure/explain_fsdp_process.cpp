#include "measure/explain_fsdp_process.hpp"

#include "memory/memory_limit.hpp"

#include <fmt/format.h>

namespace wsync {

std::string gathered_name(std::uint32_t rank) { return fmt::format("gathered-{}", rank); }

std::int64_t host_time() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Deadline::clock::now().time_since_epoch()).count(); }

Result<Session> open_session(const ExplainFsdpOptions& options, const FsdpPlace& place) {
    SessionOptions session;
    session.control = place.control;
    session.socket_directory = place.sockets;
    if (options.transport != "tcp") session.tcp_host.clear();
    return Session::open(session);
}

Json memory_of(Session& session) {
    Json message;
    std::uint64_t ledger = 0;
    for (const auto& [role, bytes] : session.peak_extra_bytes()) ledger += bytes;
    message["ledger"] = ledger;
    session.reset_peak();
    if (const auto kernel = kernel_memory()) {
        message["rss_anon"] = kernel->rss_anon;
        message["rss_shmem"] = kernel->rss_shmem;
    }
    return message;
}

std::vector<std::string> digests_in_whole(const FsdpPlace& place, const std::byte* base) {
    const auto& manifest = place.layout.manifest();
    std::vector<std::uint64_t> offsets(manifest.size());
    const auto tensors = place.whole.shards_of(0);
    for (std::size_t i = 0; i < tensors.size(); ++i) offsets[tensors[i].tensor] = place.packed.places[i].offset;
    std::vector<std::string> digests;
    for (std::uint32_t rank = 0; rank < place.layout.ranks(); ++rank) {
        Hasher all;
        for (const auto& shard : place.layout.shards_of(rank)) {
            // Whole, or cut along dimension 0: one run of bytes of the tensor.
            auto before = shard.box;
            std::uint64_t skipped = 0;
            if (!before.size.empty() && before.offset[0] > 0) {
                before.size[0] = before.offset[0];
                skipped = before.bytes(manifest[shard.tensor].dtype);
            }
            const auto digest = digest_of({base + offsets[shard.tensor] + skipped, shard.box.bytes(manifest[shard.tensor].dtype)});
            all.update(std::as_bytes(std::span(digest.bytes)));
        }
        digests.push_back(all.finish().hex());
    }
    return digests;
}

std::string digest_of_shards(const std::vector<std::span<std::byte>>& shards) {
    Hasher all;
    for (const auto& shard : shards) {
        const auto digest = digest_of(shard);
        all.update(std::as_bytes(std::span(digest.bytes)));
    }
    return all.finish().hex();
}

}  // namespace wsync
