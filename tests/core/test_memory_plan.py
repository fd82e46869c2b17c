from localllm_magics.core.memory_plan import HOST, DeviceMemory, MachineMemory

MACHINE = MachineMemory(
    host=DeviceMemory(name=HOST, free=10, total=20, is_host=True),
    devices=(
        DeviceMemory(name="CUDA0", free=5, total=100),
        DeviceMemory(name="MTL0", free=8, total=15, is_host=True),
    ),
)


def test_what_is_given_back_is_free_and_that_of_a_shared_memory_on_the_host_too() -> None:
    after = MACHINE.with_returned({HOST: 3, "CUDA0": 50, "MTL0": 4, "CUDA7": 1})

    assert [after.host.free, *(device.free for device in after.devices)] == [17, 55, 12]


def test_no_more_becomes_free_than_there_is() -> None:
    after = MACHINE.with_returned({HOST: 100, "CUDA0": 1000})

    assert [after.host.free, *(device.free for device in after.devices)] == [20, 100, 8]
