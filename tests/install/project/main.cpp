// The least that a program does with an installed wsync: one publisher, one receiver, one version.
#include <wsync/wsync.hpp>

#include <algorithm>
#include <cstdio>
#include <vector>

int main() {
    using namespace std::chrono_literals;
    try {
        const auto manifest = wsync::Manifest::make({{"layer.weight", wsync::DType::f32, {16, 8}}}).value();
        auto session = wsync::Session::open({.control = "local:"}).value();
        wsync::PublisherOptions publishing;
        publishing.name = "policy";
        publishing.source = wsync::Layout::replicated(manifest).value();
        publishing.huge_pages = false;
        auto publisher = session.publisher(publishing).value();
        const std::vector<std::byte> weights(manifest.bytes(), std::byte{7});
        auto write = publisher.begin_write({.deadline = 5s}).value();
        const wsync::Parameter parameters[] = {{"layer.weight", weights}};
        write.copy_from(parameters).value();
        publisher.publish(std::move(write), {.step = 1}).value();

        wsync::ReceiverOptions receiving;
        receiving.name = "policy";
        auto receiver = session.receiver(receiving).value();
        auto staged = receiver.stage({.deadline = 5s}).value();
        const auto tensor = staged.tensors().find("layer.weight").value();
        const bool same = std::equal(tensor.bytes.begin(), tensor.bytes.end(), weights.begin(), weights.end());
        const auto report = receiver.activate(std::move(staged)).value();
        std::printf("%s %s\n", report.version.c_str(), same ? "arrived" : "DIFFERS");
        return same ? 0 : 1;
    } catch (const wsync::Exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
