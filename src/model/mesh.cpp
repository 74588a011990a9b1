#include "wsync/model/mesh.hpp"

#include "model/utf8.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <numeric>
#include <optional>

namespace wsync {
namespace {

// A layout beyond this is a mistake in the mesh, and some hundred megabytes.
constexpr std::uint64_t kMaxShards = 1U << 23;

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }

// The number that follows the name component `key`: number_after("model.layers.12.mlp", "layers") is 12.
std::optional<std::uint32_t> number_after(std::string_view name, std::string_view key) {
    for (std::size_t at = 0; at < name.size();) {
        const std::size_t dot = name.find('.', at);
        if (dot == std::string_view::npos) return std::nullopt;
        const bool found = name.substr(at, dot - at) == key;
        at = dot + 1;
        if (!found) continue;
        const std::string_view digits = name.substr(at, name.find('.', at) - at);
        std::uint32_t number = 0;
        const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (failure == std::errc() && end == digits.data() + digits.size() && !digits.empty()) return number;
    }
    return std::nullopt;
}

std::optional<std::uint32_t> layer_of(std::string_view name) {
    if (auto layer = number_after(name, "layers")) return layer;
    return number_after(name, "h");
}

// What precedes the layers; all else outside of layers (norm, head) follows them.
bool is_embedding(std::string_view name) {
    return name.find("embed") != std::string_view::npos || name.find("wte.") != std::string_view::npos || name.find("wpe.") != std::string_view::npos;
}

// The least count of indices of dimension d whose elements are whole bytes.
std::uint64_t granule(const TensorSpec& tensor, std::size_t d) {
    std::uint64_t bits = bits_of(tensor.dtype) % 8;
    for (std::size_t inner = d + 1; inner < tensor.shape.size(); ++inner) bits = bits * (tensor.shape[inner] % 8) % 8;
    return bits == 0 ? 1 : 8 / std::gcd(bits, std::uint64_t{8});
}

// Part `index` of `parts` of [0, extent), as torch.chunk cuts: every part of ceil(extent / parts), the last ones shorter
// or empty. Parts are rounded up to `unit`.
std::pair<std::uint64_t, std::uint64_t> chunk(std::uint64_t extent, std::uint64_t parts, std::uint64_t index, std::uint64_t unit) {
    std::uint64_t each = extent / parts + (extent % parts != 0 ? 1 : 0);
    if (each % unit != 0) each += unit - each % unit;
    const std::uint64_t begin = each != 0 && index > extent / each ? extent : std::min(extent, each * index);
    return {begin, std::min(each, extent - begin)};
}

// Part `index` of `parts` of `count` things, sizes differing by one at most: the part that holds thing `i`.
std::uint32_t owner(std::uint64_t i, std::uint64_t count, std::uint64_t parts) {
    // The first (count % parts) parts have one more.
    const std::uint64_t small = count / parts, larger = count % parts;
    if (i < larger * (small + 1)) return static_cast<std::uint32_t>(i / (small + 1));
    return static_cast<std::uint32_t>(larger + (i - larger * (small + 1)) / small);
}

// Where a tensor goes before it is cut.
struct TensorHome {
    std::uint32_t stage = 0;
    std::optional<std::uint32_t> expert_rank;  // nothing: on all of them
    int tensor_parallel_dim = -1;
};

Result<std::vector<TensorHome>> find_homes(const Manifest& manifest, const MeshOptions& mesh) {
    std::uint64_t layers = 0, experts = 0;
    for (const TensorSpec& tensor : manifest.tensors()) {
        if (auto layer = layer_of(tensor.name)) layers = std::max(layers, std::uint64_t{*layer} + 1);
        if (auto expert = number_after(tensor.name, "experts")) experts = std::max(experts, std::uint64_t{*expert} + 1);
    }
    if (mesh.pipeline > 1 && mesh.pipeline > layers) {
        return bad(fmt::format("pipeline parallel {} needs as many layers, the model has {}", mesh.pipeline, layers));
    }
    if (mesh.experts > 1 && mesh.experts > experts) {
        return bad(fmt::format("expert parallel {} needs as many experts, the model has {}", mesh.experts, experts));
    }
    std::vector<TensorHome> homes(manifest.size());
    for (std::size_t t = 0; t < manifest.size(); ++t) {
        const TensorSpec& tensor = manifest[t];
        TensorHome& home = homes[t];
        if (mesh.pipeline > 1) {
            if (auto layer = layer_of(tensor.name)) {
                home.stage = owner(*layer, layers, mesh.pipeline);
            } else {
                home.stage = is_embedding(tensor.name) ? 0 : mesh.pipeline - 1;
            }
        }
        if (mesh.experts > 1) {
            if (auto expert = number_after(tensor.name, "experts")) home.expert_rank = owner(*expert, experts, mesh.experts);
        }
        if (mesh.tensor_parallel > 1) {
            const auto rule = std::find_if(mesh.rules.begin(), mesh.rules.end(), [&](const TensorParallelRule& r) {
                return tensor.name.size() >= r.suffix.size() && tensor.name.compare(tensor.name.size() - r.suffix.size(), r.suffix.size(), r.suffix) == 0;
            });
            if (rule != mesh.rules.end() && rule->dim >= 0) {
                if (static_cast<std::size_t>(rule->dim) >= tensor.shape.size()) {
                    return bad(fmt::format("the tensor parallel rule \"{}\" cuts dimension {}, tensor {} of shape {} has none", rule->suffix, rule->dim,
                                           in_quotes(tensor.name), tensor.shape.to_string()));
                }
                home.tensor_parallel_dim = rule->dim;
            }
        }
    }
    return homes;
}

Box cut(const TensorSpec& tensor, const TensorHome& home, const MeshOptions& mesh, std::uint32_t tp, std::uint32_t shard) {
    Box box = Box::whole(tensor.shape);
    if (home.tensor_parallel_dim >= 0) {
        const auto d = static_cast<std::size_t>(home.tensor_parallel_dim);
        const auto [begin, size] = chunk(tensor.shape[d], mesh.tensor_parallel, tp, granule(tensor, d));
        box.offset[d] = begin;
        box.size[d] = size;
    }
    if (tensor.shape.empty()) return box;
    const auto [begin, size] = chunk(box.size[0], mesh.fully_sharded, shard, granule(tensor, 0));
    box.offset[0] += begin;
    box.size[0] = size;
    return box;
}

}  // namespace

std::vector<TensorParallelRule> default_tensor_parallel_rules() {
    return {
        {"q_proj.weight", 0}, {"k_proj.weight", 0}, {"v_proj.weight", 0}, {"q_proj.bias", 0}, {"k_proj.bias", 0}, {"v_proj.bias", 0},
        {"o_proj.weight", 1}, {"gate_proj.weight", 0}, {"up_proj.weight", 0}, {"down_proj.weight", 1},
        {"embed_tokens.weight", 0}, {"lm_head.weight", 0},
        // gpt2 keeps its matrices transposed (Conv1D: [in, out]), so that column parallel is dimension 1.
        {"c_attn.weight", 1}, {"c_attn.bias", 0}, {"c_fc.weight", 1}, {"c_fc.bias", 0}, {"c_proj.weight", 0}, {"wte.weight", 0},
    };
}

Result<Layout> make_mesh_layout(const Manifest& manifest, const MeshOptions& mesh) {
    std::uint64_t ranks = 1;
    for (std::uint32_t extent : {mesh.replicas, mesh.pipeline, mesh.experts, mesh.fully_sharded, mesh.tensor_parallel}) {
        if (extent == 0) return bad("every extent of a mesh is at least 1");
        ranks *= extent;
        if (ranks > (1U << 20)) return bad(fmt::format("the mesh has more than {} ranks", 1U << 20));
    }
    WSYNC_TRY(const auto homes, find_homes(manifest, mesh));
    std::uint64_t expected = 0;
    for (const TensorHome& home : homes) {
        expected += std::uint64_t{mesh.replicas} * mesh.fully_sharded * mesh.tensor_parallel * (home.expert_rank ? 1 : mesh.experts);
    }
    if (expected > kMaxShards) return bad(fmt::format("the mesh cuts the model into {} shards, the limit is {}", expected, kMaxShards));

    std::vector<Shard> shards;
    shards.reserve(expected);
    // In the order of ranks, so that Layout::make finds them sorted.
    std::uint32_t rank = 0;
    for (std::uint32_t replica = 0; replica < mesh.replicas; ++replica) {
        for (std::uint32_t stage = 0; stage < mesh.pipeline; ++stage) {
            for (std::uint32_t expert = 0; expert < mesh.experts; ++expert) {
                std::vector<std::uint32_t> here;
                for (std::uint32_t t = 0; t < manifest.size(); ++t) {
                    if (homes[t].stage == stage && (!homes[t].expert_rank || *homes[t].expert_rank == expert)) here.push_back(t);
                }
                for (std::uint32_t shard = 0; shard < mesh.fully_sharded; ++shard) {
                    for (std::uint32_t tp = 0; tp < mesh.tensor_parallel; ++tp, ++rank) {
                        for (std::uint32_t t : here) {
                            // A scalar can't be cut: the first shard holds it.
                            if (manifest[t].shape.empty() && shard != 0) continue;
                            Box box = cut(manifest[t], homes[t], mesh, tp, shard);
                            if (!box.empty()) shards.push_back({rank, t, box});
                        }
                    }
                }
            }
        }
    }
    return Layout::make(manifest, static_cast<std::uint32_t>(ranks), std::move(shards), Coverage::full);
}

Result<Layout> make_round_robin_layout(const Manifest& manifest, std::uint32_t ranks) {
    if (ranks == 0) return bad("round robin needs at least 1 rank");
    std::vector<Shard> shards;
    shards.reserve(manifest.size());
    for (std::uint32_t t = 0; t < manifest.size(); ++t) shards.push_back({t % ranks, t, Box::whole(manifest[t].shape)});
    return Layout::make(manifest, ranks, std::move(shards), Coverage::full);
}

}  // namespace wsync
