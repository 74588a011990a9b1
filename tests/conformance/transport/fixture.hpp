// What the suites over every transport have in common.
#pragma once

#include "conformance/transport/exporter.hpp"
#include "conformance/transport/leak_check.hpp"
#include "memory/host_buffer.hpp"
#include "transport/fault/fault_transport.hpp"

#include "result_matchers.hpp"
#include "temporary_directory.hpp"

#include <map>

namespace wsync::testing {

using namespace std::chrono_literals;

// Long enough on any machine; an answer that does not come is a failure, not a wait.
inline constexpr auto kPatience = 60s;
// A size that no unit divides.
inline constexpr std::size_t kSourceBytes = (1U << 20) + 12'345;

enum class Peers { threads, processes };

struct Case {
    TransportUnderTest row;
    bool decorated = false;  // by the fault decorator, with no faults
    Peers peers = Peers::threads;
};

// "shm_threads", "tcp_host_decorated_processes"
[[nodiscard]] inline std::string name_of_case(const Case& one) {
    return one.row.name + (one.decorated ? "_decorated" : "") + (one.peers == Peers::threads ? "_threads" : "_processes");
}
inline void PrintTo(const Case& one, std::ostream* out) { *out << name_of_case(one); }

[[nodiscard]] inline std::vector<Case> cases_of(std::initializer_list<Peers> peers) {
    std::vector<Case> cases;
    for (const auto& row : transport_rows()) {
        for (const bool decorated : {false, true}) {
            for (const Peers where : peers) cases.push_back({row, decorated, where});
        }
    }
    return cases;
}

class TransportSuite : public ::testing::TestWithParam<Case> {
protected:
    TransportSuite() {
        setting_.directory = directory_.path();
        setting_.secret.fill(std::byte{7});
        // Some runtimes (a sanitizer's) start a thread of their own beside the first one.
        std::thread([] {}).join();
        before_ = Holdings::now(setting_.directory);
    }
    void TearDown() override {
        importer_.reset();
        exporter_.reset();
        EXPECT_TRUE(settles_at(before_, setting_.directory))
            << "before: " << before_.to_string() << "\nafter:  " << Holdings::now(setting_.directory).to_string();
    }

    [[nodiscard]] const TransportUnderTest& row() const { return GetParam().row; }

    void start_exporter(ExporterOptions options = {}) {
        if (options.bytes == 0) options.bytes = kSourceBytes;
        content_ = pattern(options.bytes);
        if (GetParam().peers == Peers::threads) {
            exporter_ = export_in_threads(row(), setting_, options);
        } else {
            exporter_ = std::make_unique<ExporterProcess>(row(), setting_, options);
        }
    }
    [[nodiscard]] ExporterProcess& process() { return dynamic_cast<ExporterProcess&>(*exporter_); }

    [[nodiscard]] std::unique_ptr<Transport> make_importer(const Setting& setting) const {
        auto transport = row().make(setting).value();
        return GetParam().decorated ? make_fault_transport(std::move(transport), {}) : std::move(transport);
    }
    [[nodiscard]] Transport& importer() {
        if (!importer_) importer_ = make_importer(setting_);
        return *importer_;
    }
    [[nodiscard]] Result<std::unique_ptr<Channel>> try_attach(Deadline deadline = kPatience) {
        return importer().attach(exporter_->descriptor(), {.deadline = deadline});
    }
    [[nodiscard]] std::unique_ptr<Channel> attach() { return try_attach().value(); }

    [[nodiscard]] static Region target_of(std::size_t bytes) {
        HostBufferOptions options;
        options.bytes = std::max<std::size_t>(bytes, 1);
        options.huge_pages = false;
        options.prefault = false;
        return HostBuffer::region(HostBuffer::make(options).value());
    }

    // All of them accepted, waiting as the queue fills; then all their completions. Each ticket exactly once.
    std::map<std::uint64_t, Completion> move(Channel& channel, std::span<const Transfer> transfers, Deadline deadline = kPatience,
                                             std::size_t at_a_time = 37) {
        std::map<std::uint64_t, Completion> done;
        std::vector<Completion> some(at_a_time);
        std::size_t accepted = 0;
        while (done.size() < transfers.size()) {
            if (accepted < transfers.size()) {
                const auto taken = channel.submit(transfers.subspan(accepted));
                EXPECT_OK(taken);
                if (!taken) return done;
                accepted += *taken;
            }
            const auto n = channel.wait(some, deadline);
            EXPECT_OK(n);
            if (!n || *n == 0) {
                ADD_FAILURE() << done.size() << " of " << accepted << " completed, then none";
                return done;
            }
            for (std::size_t i = 0; i < *n; ++i) {
                const auto ticket = some[i].ticket;
                EXPECT_TRUE(done.emplace(ticket, std::move(some[i])).second) << "ticket " << ticket << " completed twice";
            }
        }
        EXPECT_EQ(0U, channel.wait(some, Deadline::now()).value()) << "more completions than tickets";
        return done;
    }
    // One transfer's completion.
    Completion move_one(Channel& channel, const Transfer& transfer, Deadline deadline = kPatience) {
        auto done = move(channel, std::span(&transfer, 1), deadline);
        return done.empty() ? Completion{} : done.begin()->second;
    }
    // `count` reads of `bytes` each, side by side in source and target.
    [[nodiscard]] static std::vector<Transfer> reads(const Region& target, std::size_t count, std::size_t bytes) {
        std::vector<Transfer> transfers(count);
        for (std::size_t i = 0; i < count; ++i) {
            transfers[i].remote_offset = transfers[i].local_offset = i * bytes;
            transfers[i].local = &target;
            transfers[i].row_bytes = bytes;
            transfers[i].ticket = i;
        }
        return transfers;
    }
    [[nodiscard]] bool holds_content(const Region& target, std::size_t from, std::size_t bytes) const {
        return std::equal(content_.begin() + static_cast<std::ptrdiff_t>(from), content_.begin() + static_cast<std::ptrdiff_t>(from + bytes),
                          target.address + from);
    }

    TemporaryDirectory directory_;
    Setting setting_;
    Holdings before_;
    std::vector<std::byte> content_;
    std::unique_ptr<Exporter> exporter_;
    std::unique_ptr<Transport> importer_;
};

}  // namespace wsync::testing
