#include "wsync/predict/model_size.hpp"

#include "result_matchers.hpp"
#include "wsync/model/catalogue.hpp"

namespace wsync {
namespace {

using testing::HasError;

TEST(ModelSize, IsSeventyBillionParametersInHalfPrecisionByDefault) {
    const ModelSize size = default_model_size();
    EXPECT_EQ(size.bytes, 140'000'000'000u);
    EXPECT_EQ(size.gigabytes, 140.0);
    EXPECT_EQ(size.name, "70B parameters in FP16");
}

TEST(ModelSize, TakesGigabytesOfABillionBytes) {
    EXPECT_EQ(model_size_from_gigabytes("140").value(), (ModelSize{"140 GB", 140'000'000'000u, 140.0}));
    EXPECT_EQ(model_size_from_gigabytes("0.5").value(), (ModelSize{"0.5 GB", 500'000'000u, 0.5}));
    EXPECT_EQ(model_size_from_gigabytes("1027.25").value(), (ModelSize{"1027.25 GB", 1'027'250'000'000u, 1027.25}));
    EXPECT_EQ(model_size_from_gigabytes("1e3").value().bytes, 1'000'000'000'000u);
    EXPECT_EQ(model_size_from_gigabytes("1e-9").value().bytes, 1u);
    EXPECT_EQ(model_size_from_gigabytes("9e9").value().bytes, 9'000'000'000'000'000'000u);
}

TEST(ModelSize, RefusesWhatIsNoSizeAndSaysWhatIs) {
    for (const char* bad : {"0", "-1", "-0", "nan", "NaN", "-nan", "inf", "-inf", "infinity", "1e400", "-1e400", "1e-400", "70Q", "", " ", "140 ", " 140", "140GB",
                            "0x10", "1,5", "1.5.2", "+5", "1e", "e5", ".", "1e-10", "9.1e9", "14\n0"}) {
        const auto size = model_size_from_gigabytes(bad);
        EXPECT_THAT(size, HasError(Code::invalid_argument, "--model-size 140, 0.5, 1027.25")) << '"' << bad << '"';
        EXPECT_THAT(size, HasError(Code::invalid_argument, "qwen2.5-0.5b")) << '"' << bad << '"';
        ASSERT_FALSE(size.has_value()) << '"' << bad << '"';
        EXPECT_EQ(size.error().to_string().find('\n'), std::string::npos) << '"' << bad << '"';
    }
}

TEST(ModelSize, MultipliesParametersByTheTypesSize) {
    EXPECT_EQ(model_size_from_parameters("70B", "fp16").value(), (ModelSize{"70B parameters in FP16", 140'000'000'000u, 140.0}));
    EXPECT_EQ(model_size_from_parameters("70B", "fp32").value().bytes, 280'000'000'000u);
    EXPECT_EQ(model_size_from_parameters("0.5B", "bf16").value().bytes, 1'000'000'000u);
    EXPECT_EQ(model_size_from_parameters("135M", "fp16").value().bytes, 270'000'000u);
    EXPECT_EQ(model_size_from_parameters("1.5T", "bf16").value().bytes, 3'000'000'000'000u);
    EXPECT_EQ(model_size_from_parameters("22000000", "float32").value().bytes, 88'000'000u);
    EXPECT_EQ(model_size_from_parameters("10k", "fp16").value().bytes, 20'000u);
}

TEST(ModelSize, RefusesBadParameterCountsAndTypes) {
    for (const char* bad : {"70Q", "0", "-70B", "nan", "infB", "1e400", "", "B", "70 B", "70BB", "1e9T"})
        EXPECT_THAT(model_size_from_parameters(bad, "fp16"), HasError(Code::invalid_argument, "--params 70B --dtype fp16")) << '"' << bad << '"';
    EXPECT_THAT(model_size_from_parameters("70B", "fp17"), HasError(Code::invalid_argument, "fp16"));
    EXPECT_THAT(model_size_from_parameters("70B", ""), HasError(Code::invalid_argument, "fp16"));
}

TEST(ModelSize, NeedsAtLeastOneByte) {
    EXPECT_THAT(model_size_of("empty.safetensors", Manifest{}), HasError(Code::invalid_argument, "empty.safetensors"));
    EXPECT_EQ(model_size_of("ten", uniform_manifest(10, 100).value()).value().bytes, 1000u);
}

TEST(Seconds, AreFiniteAndNotNegative) {
    EXPECT_EQ(seconds_from("--generation", "30").value(), 30.0);
    EXPECT_EQ(seconds_from("--generation", "0").value(), 0.0);
    for (const char* bad : {"-1", "-0", "nan", "inf", "1e400", "30s", "", "1e10"})
        EXPECT_THAT(seconds_from("--generation", bad), HasError(Code::invalid_argument, "--generation")) << '"' << bad << '"';
}

}  // namespace
}  // namespace wsync
