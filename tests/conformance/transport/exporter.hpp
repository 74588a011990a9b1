// The exporting peer of a test, in this process or in a forked one.
#pragma once

#include "conformance/transport/child_process.hpp"
#include "conformance/transport/rows.hpp"

namespace wsync::testing {

struct ExporterOptions {
    std::size_t bytes = 0;     // of pattern()
    bool allow_write = false;
    std::uint64_t generation = 2;
};

// What every test asks of an exporter. A failure to come up is an exception: there is nothing to test then.
class Exporter {
public:
    virtual ~Exporter() = default;
    [[nodiscard]] virtual Descriptor descriptor() = 0;
    virtual void set_generation(std::uint64_t generation) = 0;
    [[nodiscard]] virtual Status close(Deadline::clock::duration patience) = 0;
};

// `row` and `setting` are copied. The process is a Child, so that a test can stop and kill it.
[[nodiscard]] std::unique_ptr<Exporter> export_in_threads(const TransportUnderTest& row, const Setting& setting, const ExporterOptions& options);

class ExporterProcess final : public Exporter {
public:
    ExporterProcess(const TransportUnderTest& row, const Setting& setting, const ExporterOptions& options);
    [[nodiscard]] Descriptor descriptor() override { return descriptor_; }
    void set_generation(std::uint64_t generation) override;
    [[nodiscard]] Status close(Deadline::clock::duration patience) override;
    // Forks a child of the exporter that inherits whatever it has open.
    [[nodiscard]] pid_t fork_sleeper();
    [[nodiscard]] Child& child() { return child_; }

private:
    Child child_;
    Descriptor descriptor_;
};

}  // namespace wsync::testing
