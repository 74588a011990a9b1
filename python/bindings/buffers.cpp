// Tensors of other libraries, by the buffer protocol or DLPack: where their bytes lie. Nothing is copied.
#include "bindings.hpp"

#include <nanobind/ndarray.h>

namespace wsync::python {
namespace {

// An export, kept open as long as this lives.
class Borrowed {
public:
    explicit Borrowed(const Py_buffer& view) : view_(view), held_(true) {
        data_ = view.buf;
        bytes_ = static_cast<std::size_t>(view.len);
        for (int i = 0; i < view.ndim; ++i) shape_.push_back(view.shape == nullptr ? static_cast<std::uint64_t>(view.len) : static_cast<std::uint64_t>(view.shape[i]));
        if (const auto dtype = dtype_of_format(view.format, view.itemsize)) dtype_ = name_of(*dtype);
    }
    explicit Borrowed(nb::ndarray<nb::ro, nb::c_contig> array) : array_(std::move(array)) {
        const auto type = array_.dtype();
        data_ = array_.data();
        bytes_ = (array_.size() * type.bits * type.lanes + 7) / 8;
        for (std::size_t i = 0; i < array_.ndim(); ++i) shape_.push_back(array_.shape(i));
        if (const auto dtype = dtype_of_dlpack(type.code, type.bits); dtype && type.lanes == 1) dtype_ = name_of(*dtype);
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() {
        if (held_) PyBuffer_Release(&view_);
    }
    [[nodiscard]] std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(data_); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }
    [[nodiscard]] const std::string& dtype() const { return dtype_; }
    [[nodiscard]] const std::vector<std::uint64_t>& shape() const { return shape_; }

private:
    static std::optional<DType> dtype_of_format(const char* format, Py_ssize_t size) {
        if (format == nullptr) return DType::u8;
        if (*format == '@' || *format == '=' || *format == '<') ++format;
        if (format[0] == 'Z' && format[1] == 'f') return DType::c64;
        if (format[0] == '\0' || format[1] != '\0') return std::nullopt;
        switch (format[0]) {
            case '?': return DType::boolean;
            case 'B': case 'c': return DType::u8;
            case 'b': return DType::i8;
            case 'h': return DType::i16;
            case 'H': return DType::u16;
            case 'e': return DType::f16;
            case 'i': case 'l': case 'q': return size == 8 ? DType::i64 : DType::i32;
            case 'I': case 'L': case 'Q': return size == 8 ? DType::u64 : DType::u32;
            case 'f': return DType::f32;
            case 'd': return DType::f64;
            default: return std::nullopt;
        }
    }
    static std::optional<DType> dtype_of_dlpack(unsigned code, unsigned bits) {
        switch (code << 8 | bits) {
            case 0 << 8 | 8: return DType::i8;
            case 0 << 8 | 16: return DType::i16;
            case 0 << 8 | 32: return DType::i32;
            case 0 << 8 | 64: return DType::i64;
            case 1 << 8 | 8: return DType::u8;
            case 1 << 8 | 16: return DType::u16;
            case 1 << 8 | 32: return DType::u32;
            case 1 << 8 | 64: return DType::u64;
            case 2 << 8 | 16: return DType::f16;
            case 2 << 8 | 32: return DType::f32;
            case 2 << 8 | 64: return DType::f64;
            case 4 << 8 | 16: return DType::bf16;
            case 5 << 8 | 64: return DType::c64;
            case 6 << 8 | 8: return DType::boolean;
            case 10 << 8 | 8: return DType::f8_e4m3;
            case 11 << 8 | 8: return DType::f8_e4m3fnuz;
            case 12 << 8 | 8: return DType::f8_e5m2;
            case 13 << 8 | 8: return DType::f8_e5m2fnuz;
            case 14 << 8 | 8: return DType::f8_e8m0;
            default: return std::nullopt;
        }
    }

    Py_buffer view_{};
    bool held_ = false;
    nb::ndarray<nb::ro, nb::c_contig> array_;
    const void* data_ = nullptr;
    std::size_t bytes_ = 0;
    std::vector<std::uint64_t> shape_;
    std::string dtype_;
};

std::unique_ptr<Borrowed> borrow(nb::handle object) {
    if (PyObject_CheckBuffer(object.ptr()) != 0) {
        Py_buffer view{};
        if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
        return std::make_unique<Borrowed>(view);
    }
    nb::ndarray<nb::ro, nb::c_contig> array;
    if (!nb::try_cast(object, array, false)) throw nb::type_error("no contiguous tensor");
    if (array.device_type() != nb::device::cpu::value) throw nb::type_error("a tensor of another device");
    return std::make_unique<Borrowed>(std::move(array));
}

}  // namespace

void bind_buffers(nb::module_& module) {
    nb::class_<Borrowed>(module, "Borrowed", "Bytes of somebody else's tensor, kept.")
        .def_prop_ro("address", &Borrowed::address)
        .def_prop_ro("nbytes", &Borrowed::bytes)
        .def_prop_ro("dtype", &Borrowed::dtype, "\"\" where wsync has no name for it.")
        .def_prop_ro("shape", [](const Borrowed& self) { return nb::tuple(nb::cast(self.shape())); }, nb::sig("def shape(self) -> tuple[int, ...]"));
    module.def("borrow", borrow, nb::arg("tensor"), nb::sig("def borrow(tensor: object) -> Borrowed"));
}

}  // namespace wsync::python
