#include "measure/bench.hpp"

#include <fmt/format.h>
#include <fstream>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <thread>

namespace wsync {

std::string describe_machine() {
    std::ifstream in("/proc/cpuinfo");
    std::string line, model = "processor", family, number;
    while (std::getline(in, line) && !line.empty()) {
        const auto colon = line.find(": ");
        if (colon == std::string::npos) continue;
        const auto value = line.substr(colon + 2);
        if (line.starts_with("model name")) model = value;
        if (line.starts_with("cpu family")) family = value;
        if (line.starts_with("model\t")) number = value;
    }
    struct sysinfo info {};
    (void)::sysinfo(&info);
    struct utsname name {};
    (void)::uname(&name);
    return fmt::format("{} (family {} model {}), {} processors, {:.1f} GB, Linux {}", model, family, number, std::thread::hardware_concurrency(),
                       static_cast<double>(info.totalram) * info.mem_unit / 1e9, name.release);
}

}  // namespace wsync
