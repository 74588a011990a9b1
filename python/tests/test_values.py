from __future__ import annotations

import json

import pytest

import wsync

TENSORS = [("embed.weight", "bf16", (8, 4)), ("norm.weight", "torch.float32", (4,)), ("scalar", "F8_E4M3", ())]


def test_manifest_keeps_order_types_and_shapes() -> None:
    manifest = wsync.Manifest(TENSORS)
    assert manifest.tensors == [("embed.weight", "BF16", (8, 4)), ("norm.weight", "F32", (4,)), ("scalar", "F8_E4M3", ())]
    assert manifest.nbytes == 64 + 16 + 1
    assert manifest.parameters == 37
    assert len(manifest) == 3
    assert "norm.weight" in manifest
    assert manifest["norm.weight"] == ("F32", (4,))
    assert manifest == wsync.Manifest(manifest.tensors)
    assert manifest != wsync.Manifest(TENSORS[:2])
    assert hash(manifest) == hash(wsync.Manifest(TENSORS))
    with pytest.raises(KeyError):
        manifest["absent"]


def test_errors_have_a_code_and_name_the_thing() -> None:
    with pytest.raises(wsync.Error) as caught:
        wsync.Manifest([("a", "f32", (1,)), ("a", "f32", (1,))])
    assert caught.value.code == "invalid_argument"
    assert "a" in caught.value.message
    with pytest.raises(wsync.Error, match="float12"):
        wsync.Manifest([("a", "float12", (1,))])
    with pytest.raises(wsync.Error, match="dimensions"):
        wsync.Manifest([("a", "f32", (1,) * 9)])
    assert "while" in str(wsync.Error("timed_out", "late", ("staging", "syncing")))


def test_layouts_say_who_holds_what() -> None:
    manifest = wsync.Manifest([("w", "f32", (6, 4))])
    layout = wsync.Layout(manifest, 2, [(0, "w", (0, 0), (4, 4)), (1, "w", (4, 0), (2, 4))])
    assert layout.shards() == [(0, "w", (0, 0), (4, 4)), (1, "w", (4, 0), (2, 4))]
    assert layout.shards(1) == [(1, "w", (4, 0), (2, 4))]
    assert layout.nbytes(0) == 64
    assert layout.coverage == "full"
    assert layout == wsync.Layout.mesh(manifest, fully_sharded=2) or layout.ranks == 2
    assert wsync.Layout.mesh(manifest, fully_sharded=2).shards(0) == [(0, "w", (0, 0), (3, 4))]
    with pytest.raises(wsync.Error, match="w"):
        wsync.Layout(manifest, 2, [(0, "w", (0, 0), (4, 4))])  # rows 4 and 5 are nobody's
    with pytest.raises(wsync.Error) as caught:
        wsync.Layout(manifest, 1, [(0, "v", (0, 0), (4, 4))])
    assert caught.value.code == "not_found"
    with pytest.raises(wsync.Error):
        layout.shards(2)


def test_a_plan_writes_each_byte_once() -> None:
    manifest = wsync.Manifest([("w", "f32", (6, 4))])
    plan = wsync.make_plan(wsync.Layout.mesh(manifest, fully_sharded=2), wsync.Layout.mesh(manifest, tensor_parallel=1))
    assert plan.copied_bytes == manifest.nbytes
    assert plan.bytes_by_source == [48, 48]
    assert [(copy[0], copy[1], copy[2]) for copy in plan.copies] == [(0, "w", ((0, 0), (3, 4))), (1, "w", ((3, 0), (3, 4)))]
    assert "bytes" in str(plan) or "copies" in str(plan)


def test_a_plan_can_fuse_and_fill() -> None:
    source = wsync.Layout.replicated(wsync.Manifest([("q", "f32", (2, 4)), ("k", "f32", (2, 4))]))
    sink = wsync.Layout.replicated(wsync.Manifest([("qk", "f32", (5, 4))]))
    box = ((0, 0), (2, 4))
    mapping = [("qk", box, "q", box), ("qk", ((2, 0), (2, 4)), "k", box), ("qk", ((4, 0), (1, 4)), None, ((0, 0), (1, 4)))]
    plan = wsync.make_plan(source, sink, mapping=mapping)
    assert plan.copied_bytes == 64
    assert plan.filled_bytes == 16
    with pytest.raises(wsync.Error, match="qk"):
        wsync.make_plan(source, sink)


def test_compare_is_the_tools_comparison() -> None:
    comparison = wsync.compare(140)
    document = json.loads(comparison.json())
    assert document["schema"] == "wsync.compare/1"
    assert comparison.profile == "tutorial"
    assert "co-located" in str(comparison)
    of_manifest = json.loads(wsync.compare(manifest=wsync.Manifest.catalogue("qwen2.5-0.5b"), placements=["co-located"]).json())
    assert len(of_manifest["placements"]) == 1
    with pytest.raises(wsync.Error):
        wsync.compare(1, methods=["pigeon"])


def test_catalogue_and_config() -> None:
    manifest = wsync.Manifest.catalogue("qwen2.5-0.5b")
    assert manifest.nbytes > 900_000_000
    with pytest.raises(wsync.Error) as caught:
        wsync.Manifest.catalogue("gpt-9")
    assert caught.value.code == "not_found"
    assert wsync.Manifest.of_size(1 << 20).nbytes == 1 << 20
    assert len(wsync.Manifest.uniform(7, 128)) == 7


def test_dtype_names() -> None:
    assert wsync.normal_dtype("torch.bfloat16") == "BF16"
    assert wsync.bits_of("f4") == 4
