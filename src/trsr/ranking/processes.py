"""The processes that share a training: started by `accelerate launch`, or this one alone.

One code path for a CPU, one GPU, DDP, FSDP 2 and DeepSpeed: Accelerate knows which of them it is.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from trsr.errors import ConfigError
from trsr.llm.weights import pick_device

# the others wait while the main process writes summaries, which may take long; a process that dies ends them all
_PATIENCE = timedelta(days=7)


def refuse_several(command: str) -> None:
    """Raise `ConfigError` when `command` was started in several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            f"{command} runs in one process; share the training with `accelerate launch -m trsr train`, then run it"
        )


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return bool(_state().is_main_process)


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process and then in the others, which find done what it does."""
    with _state().main_process_first():
        yield


def part() -> None:
    """Leave the other processes, once all are done."""
    _state().wait_for_everyone()
    _state().destroy_process_group()


class Processes:
    """The processes that train together, as Accelerate sees them: `count` of them, this one being `index`.

    `clip` bounds the norm of gradients. Raises `ConfigError` for FSDP 1, which flattens the weights.
    """

    def __init__(self, device: torch.device, clip: float) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

        # models are where they belong (4-bit ones cannot be moved), autocast is the loop's own, and how many rows make
        # a step is not a matter of the environment
        self.accelerator: Any = Accelerator(
            device_placement=False,
            mixed_precision="no",
            cpu=device.type == "cpu",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            kwargs_handlers=[
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
                InitProcessGroupKwargs(timeout=_PATIENCE),
            ],
        )
        self.device = device
        self.count: int = self.accelerator.num_processes
        self.index: int = self.accelerator.process_index
        if self.accelerator.distributed_type == "FSDP" and not self.accelerator.is_fsdp2:
            raise ConfigError("FSDP 1 is not supported; set fsdp_version: 2 in the file for accelerate launch")
        if not self.keeps_state:  # DeepSpeed clips by itself, and wants a batch size: one row
            config = self.accelerator.state.deepspeed_plugin.deepspeed_config
            config.update(gradient_clipping=clip, train_micro_batch_size_per_gpu=1)

    @property
    def keeps_state(self) -> bool:
        """Whether the optimiser's state can be had; DeepSpeed's is its own, so its runs have no checkpoints."""
        return bool(self.accelerator.distributed_type != "DEEPSPEED")

    @property
    def alone(self) -> bool:
        """Whether gradients are where plain torch puts them; shards, buckets and engines keep some for themselves."""
        return bool(self.accelerator.distributed_type == "NO")

    def prepare(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Module and optimiser for training in these processes; `by_user` of the module works as `forward` does."""
        from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

        prepared, wrapped = self.accelerator.prepare(module, optimizer)
        if isinstance(module, FSDPModule):  # sharded in place
            register_fsdp_forward_method(module, "by_user")
        return prepared, wrapped

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes, on the CPU."""
        if self.count == 1:
            return values
        summed: Tensor = self.accelerator.reduce(values.to(self.device), "sum").cpu()
        return summed

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies in one piece on the CPU, in the main process; the others take part together and keep nothing."""
        copies = {}
        for name, tensor in tensors.items():
            piece = _whole(tensor)
            if self.index == 0:
                copies[name] = piece.detach().cpu().contiguous().clone()
        return copies

    def least(self, number: int) -> int:
        """The smallest number that a process has."""
        numbers = torch.zeros(self.count)
        numbers[self.index] = number
        return int(self.sum(numbers).min())

    def agree(self, wanted: bool) -> bool:
        """What the main process wants, in all processes."""
        return bool(self.sum(torch.tensor([float(wanted and self.index == 0)])).item())


def placed_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor where `like` is: on its device, sharded as it is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)


def put_back(module: nn.Module, parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Give the trained parameters of `module.model` whole values; in the place of sharded ones come whole ones.

    A model that was sharded can be saved afterwards, though its other weights are sharded still.
    """
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    model: Any = module.model
    sharded = [part for part in module.modules() if isinstance(part, FSDPModule)]
    for part in sharded:
        part.reshard()  # or it would do so later, and put its shards back
    for name, parameter in parameters.items():
        if isinstance(parameter, DTensor):
            owner, _, own = name.rpartition(".")
            setattr(model.get_submodule(owner), own, nn.Parameter(values[name], requires_grad=False))
        else:
            parameter.data.copy_(values[name])
    if sharded:
        model.tie_weights()


def _whole(tensor: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _state() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=pick_device().type == "cpu", timeout=_PATIENCE)
