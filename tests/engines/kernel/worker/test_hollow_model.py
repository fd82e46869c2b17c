from dataclasses import replace
from pathlib import Path

import pytest

from localllm_magics.catalog.gguf import read_header, require_complete
from localllm_magics.catalog.shape import read_shape
from localllm_magics.engines.kernel.library import Library
from localllm_magics.engines.kernel.worker.hollow_model import HollowShape, layer_bytes, write_hollow_model

SHAPE = HollowShape(type="Q4_0", layers=2, width=128, inner_width=256)


@pytest.mark.parametrize("experts", [pytest.param(0, id="dense"), pytest.param(4, id="experts")])
def test_the_file_is_a_model_of_its_shape(lib: Library, tmp_path: Path, experts: int) -> None:
    path, shape = tmp_path / "hollow.gguf", replace(SHAPE, experts=experts)

    write_hollow_model(lib, shape, path)

    header = read_header(path)
    require_complete(header, path)
    found = read_shape([header])
    everything, feed_forward = layer_bytes(lib, shape)
    assert found is not None
    assert (found.width, found.vocabulary, found.experts, found.experts_used) == (128, 256, experts, experts)
    assert len(found.order) == 2
    kind = found.kinds[0]
    assert dict(kind.experts if experts else kind.feed_forward)["Q4_0"] == feed_forward
    assert dict(kind.attention)["Q4_0"] == everything - feed_forward
    assert (kind.key_width, kind.query_width) == (128, 128)


def test_its_weights_take_no_room_on_the_disk(lib: Library, tmp_path: Path) -> None:
    path = tmp_path / "hollow.gguf"

    write_hollow_model(lib, replace(SHAPE, width=4096, inner_width=16_384, layers=8), path)

    stat = path.stat()
    assert stat.st_size > 500_000_000
    assert stat.st_blocks * 512 < 1_000_000


def test_a_type_that_the_build_does_not_know_is_refused(lib: Library, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Q99_Z"):
        write_hollow_model(lib, replace(SHAPE, type="Q99_Z"), tmp_path / "hollow.gguf")
