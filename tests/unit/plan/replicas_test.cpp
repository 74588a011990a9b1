#include "plan/replicas.hpp"

#include <gtest/gtest.h>

namespace wsync {
namespace {

using Ranks = std::vector<std::uint32_t>;

TEST(replica_balancer, least_loaded_first_and_ties_by_turn) {
    ReplicaBalancer balancer(3, 2);  // turns of ranks 0, 1, 2 are 2, 0, 1
    const Ranks all{0, 1, 2};
    EXPECT_EQ(balancer.assign(all, 10), 1u);
    EXPECT_EQ(balancer.assign(all, 10), 2u);
    EXPECT_EQ(balancer.assign(all, 5), 0u);
    EXPECT_EQ(balancer.assign(all, 1), 0u);
    EXPECT_EQ(balancer.loads(), (std::vector<std::uint64_t>{6, 10, 10}));
}

TEST(replica_balancer, sets_that_share_ranks_see_each_others_loads) {
    ReplicaBalancer balancer(3, 0);
    const Ranks low{0, 1}, high{1, 2};
    EXPECT_EQ(balancer.assign(low, 100), 0u);   // 100, 0, 0
    EXPECT_EQ(balancer.assign(high, 90), 0u);   // 100, 90, 0
    EXPECT_EQ(balancer.assign(high, 85), 1u);   // 100, 90, 85
    EXPECT_EQ(balancer.assign(high, 84), 1u);   // 100, 90, 169
    EXPECT_EQ(balancer.assign(high, 83), 0u);   // 100, 173, 169
    EXPECT_EQ(balancer.assign(low, 80), 0u) << "the set {0, 1} last saw rank 1 without a load";
    balancer.add(0, 1000);
    EXPECT_EQ(balancer.assign(low, 1), 1u);
    EXPECT_EQ(balancer.loads(), (std::vector<std::uint64_t>{1180, 174, 169}));
}

TEST(replica_balancer, the_position_in_the_set_is_the_answer) {
    ReplicaBalancer balancer(10, 0);
    balancer.add(4, 1);
    const Ranks ranks{4, 9};
    EXPECT_EQ(balancer.assign(ranks, 1), 1u);
}

}  // namespace
}  // namespace wsync
