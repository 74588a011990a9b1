#include "model_argument.hpp"

#include "measure/model_choice.hpp"
#include "store/file_system.hpp"

#include <sys/stat.h>

namespace wsync::tool {

namespace {

constexpr std::uint64_t kLargestDocument = 16u << 20;

bool exists(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0;
}

// What was named on the command line and can't be used is bad use, whatever is wrong with it.
Error as_bad_use(Error error) {
    error.code = Code::invalid_argument;
    return error;
}

}  // namespace

void ModelArgument::add_to(CLI::App& command, bool models) {
    gigabytes_option = command.add_option("-m,--model-size", gigabytes, "size of the weights in GB of 1e9 bytes (140 without any of these)")->type_name("GB");
    parameters_option = command.add_option("--params", parameters, "parameters: a count with K, M, B or T")->type_name("N");
    dtype_option = command.add_option("--dtype", dtype, "their type: fp16, bf16, fp32, fp8... (fp16)")->type_name("T");
    if (models) {
        model_option = command.add_option("--model", model, "a model of the catalogue, a safetensors file, a directory with such files, or a config.json")->type_name("M");
    }
}

Result<ModelSize> ModelArgument::size() const {
    const bool by_model = model_option != nullptr && model_option->count() > 0;
    const bool by_gigabytes = gigabytes_option->count() > 0, by_parameters = parameters_option->count() > 0;
    if (by_model + by_gigabytes + by_parameters > 1) {
        return Error{Code::invalid_argument, "give the size once: --model-size GB, or --params N --dtype T, or --model M"};
    }
    if (dtype_option->count() > 0 && !by_parameters) return Error{Code::invalid_argument, "--dtype needs --params, e.g. --params 70B --dtype fp16"};
    if (by_gigabytes) return model_size_from_gigabytes(gigabytes);
    if (by_parameters) return model_size_from_parameters(parameters, dtype_option->count() > 0 ? dtype : "fp16");
    if (!by_model) return default_model_size();
    auto choice = choose_model(model);
    if (!choice) return as_bad_use(std::move(choice).error());
    return model_size_of(choice->name.empty() ? model : choice->name, choice->manifest);
}

Result<MeasuredFigures> load_measured(const std::string& path) {
    if (path.empty()) return Error{Code::invalid_argument, "no file named: give what `wsync bench --json` wrote"};
    const auto files = make_file_system(nullptr);
    auto text = read_small_file(*files, path, kLargestDocument);
    if (!text) return as_bad_use(std::move(text).error());
    auto figures = measured_from_bench({reinterpret_cast<const char*>(text->data()), text->size()}, path);
    if (!figures) return as_bad_use(std::move(figures).error());
    return figures;
}

Result<Profile> load_profile(const std::string& name) {
    auto profile = profile_from_name(name);
    if (profile) return profile;
    if (!exists(name)) return as_bad_use(std::move(profile).error());
    WSYNC_TRY(const auto figures, load_measured(name));
    return measured_profile(figures);
}

}  // namespace wsync::tool
