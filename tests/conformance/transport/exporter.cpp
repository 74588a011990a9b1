#include "conformance/transport/exporter.hpp"

namespace wsync::testing {
namespace {

enum Op : std::uint64_t { kSetGeneration = 1, kClose, kFork };

class ExporterHere final : public Exporter {
public:
    ExporterHere(const TransportUnderTest& row, const Setting& setting, const ExporterOptions& options)
        : transport_(row.make(setting).value()), source_(row.make_source(setting, pattern(options.bytes))) {
        source_.generation->store(options.generation);
        exposure_ = transport_->expose(source_.region, {.generation = source_.generation, .allow_write = options.allow_write}).value();
    }
    Descriptor descriptor() override { return exposure_->descriptor(); }
    void set_generation(std::uint64_t generation) override { source_.generation->store(generation); }
    Status close(Deadline::clock::duration patience) override { return exposure_->close(patience); }

private:
    std::unique_ptr<Transport> transport_;
    Source source_;
    std::unique_ptr<Exposure> exposure_;
};

void obey(Pipe& pipe, Exporter& exporter) {
    while (auto command = pipe.receive(Deadline::never())) {
        switch (command->word) {
            case kSetGeneration:
                exporter.set_generation(command->number);
                pipe.send({});
                break;
            case kClose:
                pipe.send(Message::of(exporter.close(std::chrono::milliseconds(command->number))));
                break;
            case kFork:
                pipe.send({0, static_cast<std::uint64_t>(fork_sleeper()), {}});
                break;
            default:
                return;
        }
    }
}

}  // namespace

std::unique_ptr<Exporter> export_in_threads(const TransportUnderTest& row, const Setting& setting, const ExporterOptions& options) {
    return std::make_unique<ExporterHere>(row, setting, options);
}

ExporterProcess::ExporterProcess(const TransportUnderTest& row, const Setting& setting, const ExporterOptions& options)
    : child_([=](Pipe& pipe) {
          ExporterHere exporter(row, setting, options);
          const auto descriptor = exporter.descriptor();
          const auto name = as_bytes_of(descriptor.transport);
          pipe.send({0, 0, Bytes(name.begin(), name.end())});
          pipe.send({0, 0, descriptor.bytes});
          obey(pipe, exporter);
      }) {
    const auto name = child_.pipe().receive().value();
    descriptor_.transport.assign(reinterpret_cast<const char*>(name.bytes.data()), name.bytes.size());
    descriptor_.bytes = child_.pipe().receive().value().bytes;
}

void ExporterProcess::set_generation(std::uint64_t generation) { (void)child_.ask({kSetGeneration, generation, {}}).value(); }

Status ExporterProcess::close(Deadline::clock::duration patience) {
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
    return child_.ask({kClose, static_cast<std::uint64_t>(milliseconds), {}}).value().status();
}

pid_t ExporterProcess::fork_sleeper() { return static_cast<pid_t>(child_.ask({kFork, 0, {}}).value().number); }

}  // namespace wsync::testing
