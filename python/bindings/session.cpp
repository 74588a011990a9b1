// Session: opens publishers and receivers.
#include "handles.hpp"
#include "transport/fault/fault_transport.hpp"

#include <chrono>

namespace wsync::python {
namespace {

Session& open_session(SessionHandle& handle) {
    if (!handle.session) throw Exception(Error{Code::invalid_argument, "this session is closed", {}});
    return *handle.session;
}

Use use_from(std::string_view name) {
    for (const auto use : {Use::copy, Use::map_then_install, Use::serve_in_place})
        if (name_of(use) == name) return use;
    throw Exception(Error{Code::invalid_argument, "use is \"copy\", \"map_then_install\" or \"serve_in_place\", not \"" + std::string(name) + "\"", {}});
}

Verification verification_from(std::string_view name) {
    for (const auto level : {Verification::none, Verification::content, Verification::content_at_rest})
        if (name_of(level) == name) return level;
    throw Exception(Error{Code::invalid_argument, "verification is \"content\", \"content_at_rest\" or \"none\", not \"" + std::string(name) + "\"", {}});
}

std::chrono::steady_clock::duration duration_from(double seconds) {
    if (!(seconds >= 0 && seconds <= 1e9)) throw Exception(Error{Code::invalid_argument, "a duration is 0 to 1e9 seconds", {}});
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
}

std::unique_ptr<PublisherHandle> open_publisher(SessionHandle& self, const std::string& name, std::uint32_t rank, std::uint32_t world, const std::string& run,
                                                const Layout& source, unsigned slabs, bool huge_pages, unsigned threads, const std::string& directory,
                                                unsigned keep_versions, bool recycle_versions, double lease_seconds, std::optional<double> open_deadline) {
    auto& session = open_session(self);
    PublisherOptions options;
    options.name = name;
    options.rank = rank;
    options.world = world;
    options.run = run;
    options.source = source;
    options.slabs = slabs;
    options.huge_pages = huge_pages;
    options.threads = threads;
    options.version_directory = directory;
    options.keep_versions = keep_versions;
    options.recycle_versions = recycle_versions;
    options.lease_time = duration_from(lease_seconds);
    options.open_deadline = deadline_from(open_deadline);
    return std::make_unique<PublisherHandle>(without_gil([&] { return session.publisher(options); }));
}

std::unique_ptr<ReceiverHandle> open_receiver(SessionHandle& self, const std::string& name, const std::string& id,
                                              const std::optional<std::tuple<std::string, std::uint32_t, std::uint32_t, double>>& group,
                                              const Layout* wanted, std::uint32_t rank,
                                              const std::vector<std::pair<std::uintptr_t, std::size_t>>& slots, std::string_view use, unsigned slabs,
                                              bool rollback, const std::vector<std::string>& transports, std::string_view verification, bool reuse_blocks,
                                              bool huge_pages, unsigned threads, std::uint64_t bucket_bytes, std::uint64_t in_flight_bytes,
                                              double bytes_per_second) {
    auto& session = open_session(self);
    ReceiverOptions options;
    options.name = name;
    options.id = id;
    if (group) {
        const auto& [group_name, member, members, lease_seconds] = *group;
        options.group = ReceiverGroup{group_name, member, members, duration_from(lease_seconds)};
    }
    if (wanted != nullptr) options.sink.wanted = *wanted;
    options.sink.rank = rank;
    for (const auto& [address, bytes] : slots) options.sink.slots.emplace_back(reinterpret_cast<std::byte*>(address), bytes);
    options.use = use_from(use);
    options.slabs = slabs;
    options.rollback = rollback;
    options.transports = transports;
    options.verification = verification_from(verification);
    options.reuse_blocks = reuse_blocks;
    options.huge_pages = huge_pages;
    options.budget = {threads, bucket_bytes, in_flight_bytes, bytes_per_second};
    return std::make_unique<ReceiverHandle>(without_gil([&] { return session.receiver(options); }));
}

}  // namespace

void bind_session(nb::module_& module) {
    nb::class_<SessionHandle>(module, "SessionHandle")
        .def_static("open", [](const std::string& control, const std::string& socket_directory, const std::string& tcp_host, bool shm, const std::string& kernels,
                               const std::vector<std::uint64_t>& corrupt_reads) {
            SessionOptions options;
            options.control = control;
            options.socket_directory = socket_directory;
            options.tcp_host = tcp_host;
            options.shm = shm;
            options.kernels = kernels;
            if (!corrupt_reads.empty()) {
                options.decorate = [corrupt_reads](std::unique_ptr<Transport> inner) {
                    FaultPolicy policy;
                    policy.corrupt.at = corrupt_reads;
                    return make_fault_transport(std::move(inner), std::move(policy));
                };
            }
            return std::make_unique<SessionHandle>(SessionHandle{without_gil([&] { return Session::open(options); })});
        }, nb::arg("control"), nb::arg("socket_directory"), nb::arg("tcp_host"), nb::arg("shm"), nb::arg("kernels"),
                    nb::arg("corrupt_reads") = std::vector<std::uint64_t>(), "`corrupt_reads`: numbers of transfers, from 1, that flip a byte: for tests.")
        .def("publisher", open_publisher, nb::kw_only(), nb::arg("name"), nb::arg("rank"), nb::arg("world"), nb::arg("run"), nb::arg("source"),
             nb::arg("slabs"), nb::arg("huge_pages"), nb::arg("threads"), nb::arg("version_directory"), nb::arg("keep_versions"), nb::arg("recycle_versions"),
             nb::arg("lease_seconds"), nb::arg("open_deadline").none())
        .def("receiver", open_receiver, nb::kw_only(), nb::arg("name"), nb::arg("id"), nb::arg("group").none(), nb::arg("wanted").none(), nb::arg("rank"),
             nb::arg("slots"), nb::arg("use"), nb::arg("slabs"), nb::arg("rollback"), nb::arg("transports"), nb::arg("verification"), nb::arg("reuse_blocks"),
             nb::arg("huge_pages"), nb::arg("threads"), nb::arg("bucket_bytes"), nb::arg("in_flight_bytes"), nb::arg("bytes_per_second"))
        .def("peak_extra_bytes", [](SessionHandle& self) { return open_session(self).peak_extra_bytes(); })
        .def("reset_peak", [](SessionHandle& self) { open_session(self).reset_peak(); })
        .def_prop_ro("closed", [](const SessionHandle& self) { return !self.session.has_value(); })
        .def("close", [](SessionHandle& self) { self.session.reset(); });
}

}  // namespace wsync::python
