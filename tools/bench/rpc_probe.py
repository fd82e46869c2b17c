"""The worker that calibrates with an RPC server as its device: takes its address, then what `speed_probe` takes."""

import sys

from localllm_magics.engines.kernel.library import library
from localllm_magics.engines.kernel.worker.process import begin_worker
from localllm_magics.engines.kernel.worker.speed_probe import probe
from localllm_magics.engines.kernel.worker.tiny_bench import Place

if __name__ == "__main__":
    begin_worker()
    lib = library()
    lib.add_rpc_server(sys.argv[1])
    probe(Place(lib=lib, repack=sys.argv[2] == "repack"), sys.argv[3:])
