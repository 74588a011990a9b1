// Writes and reads safetensors files for safetensors_interop.py.
//   safetensors_tool write FILE    tensors as lines "DTYPE NAME EXTENT..." on standard input
//   safetensors_tool dump FILE     what the header says, as JSON
//   safetensors_tool check         files as lines on standard input; for each "ok" or the error
#include "format/safetensors.hpp"

#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

namespace wsync {
namespace {

// The pattern that safetensors_interop.py expects.
std::string contents(std::size_t tensor, std::uint64_t bytes) {
    std::string out(bytes, '\0');
    for (std::uint64_t i = 0; i < bytes; ++i) out[i] = static_cast<char>((i * 31 + tensor * 7 + 1) & 0xFF);
    return out;
}

std::string slurp(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

Result<SafetensorsHeader> read(const std::string& path) {
    const std::string file = slurp(path);
    const auto bytes = as_bytes_of(file);
    WSYNC_TRY(const std::uint64_t header_bytes, safetensors_header_bytes(bytes, file.size(), path));
    return parse_safetensors_header(bytes.first(header_bytes), file.size(), path);
}

Status write(const std::string& path) {
    std::vector<TensorSpec> given;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        TensorSpec tensor;
        std::string dtype;
        words >> dtype >> tensor.name;
        WSYNC_TRY(tensor.dtype, dtype_from_name(dtype));
        const std::vector<std::uint64_t> extents{std::istream_iterator<std::uint64_t>(words), {}};
        tensor.shape = Dims(std::span(extents));
        given.push_back(tensor);
    }
    WSYNC_TRY(const Manifest manifest, Manifest::make(given));
    const auto order = safetensors_order(manifest);
    std::vector<TensorSpec> ordered;
    for (std::uint32_t t : order) ordered.push_back(manifest[t]);
    WSYNC_TRY(const Manifest written, Manifest::make(ordered));
    WSYNC_TRY(const Bytes header, make_safetensors_header(written, {{"format", "pt"}, {"writer", "wsync é漢"}}));
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(header.data()), static_cast<std::streamsize>(header.size()));
    for (std::uint32_t t : order) {
        const std::string bytes = contents(t, manifest[t].bytes());
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
    file.close();
    if (!file) return Error{Code::io_error, "writing " + path};
    return {};
}

Status dump(const std::string& path) {
    WSYNC_TRY(const SafetensorsHeader header, read(path));
    nlohmann::json out = {{"metadata", header.metadata}, {"tensors", nlohmann::json::array()}};
    for (std::size_t t = 0; t < header.manifest.size(); ++t) {
        const TensorSpec& tensor = header.manifest[t];
        const std::uint64_t begin = header.header_bytes + header.begins[t];
        out["tensors"].push_back({{"name", tensor.name},
                                  {"dtype", name_of(tensor.dtype)},
                                  {"shape", std::vector<std::uint64_t>(tensor.shape.begin(), tensor.shape.end())},
                                  {"begin", begin},
                                  {"end", begin + tensor.bytes()}});
    }
    std::cout << out.dump() << "\n";
    return {};
}

Status check() {
    for (std::string path; std::getline(std::cin, path);) {
        const auto header = read(path);
        std::cout << (header.has_value() ? std::string("ok") : header.error().to_string()) << "\n";
    }
    return {};
}

Status run(const std::vector<std::string>& arguments) {
    if (arguments.size() == 2 && arguments[0] == "write") return write(arguments[1]);
    if (arguments.size() == 2 && arguments[0] == "dump") return dump(arguments[1]);
    if (arguments.size() == 1 && arguments[0] == "check") return check();
    return Error{Code::invalid_argument, "usage: safetensors_tool write FILE | dump FILE | check"};
}

}  // namespace
}  // namespace wsync

int main(int argc, char** argv) {
    const auto done = wsync::run({argv + 1, argv + argc});
    if (done.has_value()) return 0;
    std::cerr << done.error().to_string() << "\n";
    return 1;
}
