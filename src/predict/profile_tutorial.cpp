// The tutorial's own figures, to the digit. docs/tutorial.md says which of them are so.
#include "wsync/predict/profile.hpp"

namespace wsync {

namespace {

constexpr std::string_view kGpu = "GPU memory";
constexpr std::string_view kCpu = "CPU memory";
constexpr std::string_view kDisk = "disk";
constexpr std::string_view kNetwork = "network";
constexpr std::string_view kSame = "same memory";

std::vector<HopRule> path_of(std::initializer_list<std::string_view> places) {
    std::vector<HopRule> path;
    for (auto place = places.begin(); place + 1 < places.end(); ++place) path.push_back({std::string(*place), std::string(*(place + 1)), true});
    return path;
}

std::vector<HopRule> through_disk() { return path_of({kGpu, kCpu, kDisk, kCpu, kGpu}); }
std::vector<HopRule> through_network() { return path_of({kGpu, kNetwork, kGpu}); }
std::vector<HopRule> by_reference() { return {{std::string(kGpu), std::string(kSame), false}}; }

// The formula has one bandwidth for the whole path: the time is booked on the hop that it describes, which is where the
// path reaches the medium, and the other hops get none.
Method one_term(Method method, std::vector<HopRule> path, std::size_t counted_hop) {
    method.path = std::move(path);
    method.terms = {{"transfer", method.gigabytes_per_second, method.setup_ms / 1000.0, counted_hop}};
    return method;
}

constexpr const char* kNvlinkEnds = "NVLink joins the GPUs of one node and ends there";
constexpr const char* kHandleEnds = "an IPC handle names memory of this host; another host can't open it";

}  // namespace

Profile tutorial_profile() {
    Profile profile;
    profile.name = "tutorial";
    profile.origin = "the tutorial's figures: size / bandwidth + set-up, nothing measured";
    profile.methods = {
        one_term({.id = "disk_ssd", .name = "Disk (NVMe SSD)", .description = "save to disk and load from disk", .gigabytes_per_second = 7,
                  .setup_ms = 100, .works_across_nodes = true, .works_same_gpu = true, .link = "PCIe 4.0 NVMe"},
                 through_disk(), 1),
        one_term({.id = "disk_hdd", .name = "Disk (HDD/NFS)", .description = "save to network storage", .gigabytes_per_second = 0.2,
                  .setup_ms = 500, .works_across_nodes = true, .works_same_gpu = true, .link = {}},
                 through_disk(), 1),
        one_term({.id = "nccl_nvlink", .name = "NCCL (NVLink)", .description = "GPU to GPU within a node", .gigabytes_per_second = 450,
                  .setup_ms = 10, .works_across_nodes = false, .works_same_gpu = true, .link = "NVLink 4.0",
                  .why_not_across_nodes = kNvlinkEnds},
                 through_network(), 0),
        one_term({.id = "nccl_ib", .name = "NCCL (InfiniBand)", .description = "GPU to GPU across nodes", .gigabytes_per_second = 50,
                  .setup_ms = 50, .works_across_nodes = true, .works_same_gpu = true, .link = "400 Gb/s"},
                 through_network(), 0),
        one_term({.id = "nccl_ethernet", .name = "NCCL (Ethernet)", .description = "GPU to GPU over Ethernet", .gigabytes_per_second = 12.5,
                  .setup_ms = 100, .works_across_nodes = true, .works_same_gpu = true, .link = "100 Gb/s"},
                 through_network(), 0),
        one_term({.id = "cuda_ipc", .name = "CUDA IPC Handle", .description = "share a GPU memory pointer", .gigabytes_per_second = {},
                  .setup_ms = 1, .works_across_nodes = false, .works_same_gpu = true, .link = {}, .why_not_across_nodes = kHandleEnds},
                 by_reference(), 0),
    };
    profile.reference_method = "disk_ssd";
    profile.timeline_methods = {"cuda_ipc", "nccl_ib"};
    profile.transfers_per_iteration = 2;
    profile.transfers_reason =
        "counted twice, as the tutorial does: train → infer, and back; other profiles count it once, since samples go back, not weights";
    return profile;
}

Profile tutorial_stages_profile() {
    constexpr double kDiskRate = 5;            // GB/s each way
    constexpr double kWireRate = 25;           // GB/s between the clusters
    constexpr double kGatherRate = 200.0 / 3;  // GB/s inside a cluster: 2.1 s for 140 GB
    constexpr double kStep = 0.001;

    Method disk{.id = "disk", .name = "Disk", .description = "works across any hardware configuration", .gigabytes_per_second = kDiskRate,
                .setup_ms = 0, .works_across_nodes = true, .works_same_gpu = true, .link = {}};
    disk.path = through_disk();
    disk.terms = {{"write", kDiskRate, 0, 1}, {"read", kDiskRate, 0, 2}};

    Method nccl{.id = "nccl", .name = "NCCL", .description = "requires network connectivity between clusters",
                .gigabytes_per_second = kWireRate, .setup_ms = 0, .works_across_nodes = true, .works_same_gpu = true, .link = {}};
    nccl.path = through_network();
    nccl.terms = {{"gather", kGatherRate, 0, 0}, {"transfer", kWireRate, 0, 0}, {"broadcast", kGatherRate, 0, 1}};

    Method ipc{.id = "cuda_ipc", .name = "CUDA IPC", .description = "zero data movement: same memory, new reference",
               .gigabytes_per_second = {}, .setup_ms = 3, .works_across_nodes = false, .works_same_gpu = true, .link = {}};
    ipc.path = by_reference();
    ipc.terms = {{"get_handle", {}, kStep, 0}, {"serialize", {}, kStep, 0}, {"reconstruct", {}, kStep, 0}};
    ipc.why_not_across_nodes = kHandleEnds;

    Profile profile;
    profile.name = "tutorial-stages";
    profile.origin = "the tutorial's staged example: disk there and back at 5 GB/s, wire 25 GB/s, gather and broadcast 200/3 GB/s";
    profile.methods = {std::move(disk), std::move(nccl), std::move(ipc)};
    for (auto& method : profile.methods) method.staged = true;
    profile.reference_method = "disk";
    profile.timeline_methods = {"cuda_ipc", "nccl"};
    profile.transfers_per_iteration = 1;
    profile.transfers_reason = "counted once: what goes back from inference to training is samples (tokens, log-probabilities, rewards), not weights";
    return profile;
}

}  // namespace wsync
